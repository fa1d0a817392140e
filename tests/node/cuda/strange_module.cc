// A module of a build that never was: right symbol, wrong build.
struct Entry {
  const char* abi;
  void* open;
};
extern "C" {
extern const Entry mimo_cuda_module;
const Entry mimo_cuda_module = {"0.0.0-strange", nullptr};
}
