#include "coordinator/http/generation.h"

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>

#include "coordinator/http/completion_reply.h"
#include "tests/coordinator/api/front_door.h"

namespace mimo::http {
namespace {

// A connection that is busy with what was written until it is told otherwise.
struct SlowClient final : Responder {
  void respond(HttpResponse) override { ADD_FAILURE() << "expected a stream"; }
  void begin_stream(const Headers&) override {}
  void write(std::string_view data) override {
    EXPECT_FALSE(is_busy);
    is_busy = true;
    writes.emplace_back(data);
  }
  void end_stream(bool) override {}
  bool busy() const override { return is_busy; }
  void cut() override { ADD_FAILURE() << "expected no cut"; }

  bool is_busy = false;
  std::vector<std::string> writes;
};

// The choice that an event is of.
int index_of(const std::string& event) {
  return std::stoi(event.substr(event.find("\"index\":") + 8));
}

TEST(Generation, StreamsThatWaitAreServedInTurn) {
  auto options = coordinator::FrontDoor::by_hand();
  coordinator::FrontDoor front(options);
  Loop loop;  // turned by this thread
  SlowClient client;
  CompletionCall call;
  call.stream.stream = true;
  for (int i = 0; i < 3; ++i) call.requests.push_back(coordinator::text_request("hey", 100));
  Prepared prepared;
  ReplyFacts facts;
  facts.stream = call.stream;
  prepared.reply = std::make_unique<CompletionReply>(facts, call);
  prepared.requests = call.requests;
  auto generation = std::make_shared<Generation>(loop, front.sessions, client, "");
  generation->start(std::move(prepared));
  ASSERT_TRUE(front.engine.wait_live(3));

  // Every step gives each stream a token, and the client takes one event.
  for (int i = 0; i < 9; ++i) {
    front.engine.step();
    loop.context().restart();
    loop.context().poll();
    client.is_busy = false;
    generation->writable();
  }

  std::map<int, int> num_events;
  for (const std::string& event : client.writes) ++num_events[index_of(event)];
  for (int i = 0; i < 3; ++i) EXPECT_GE(num_events[i], 3) << "choice " << i;
  generation->gone();
}

}  // namespace
}  // namespace mimo::http
