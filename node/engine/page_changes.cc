#include "node/engine/page_changes.h"

namespace mimo::node {

kvcache::KvChanges page_changes(const StepPlan& plan) {
  kvcache::KvChanges changes;
  changes.releases = plan.releases;
  for (const Admission& admission : plan.admissions) {
    changes.admissions.emplace_back(admission.slot, admission.num_cached);
  }
  for (const PageReturn& change : plan.returns) {
    changes.returns.push_back({change.slot, change.kind, change.num_pages});
  }
  for (const PageGrant& grant : plan.grants) {
    changes.grants.push_back({grant.slot, grant.kind, grant.pages});
  }
  return changes;
}

}  // namespace mimo::node
