mimo_test(route_parts_test SOURCES route_parts_test.cc LINK mimo_cuda_route)
mimo_test(route_plan_cuda_test SOURCES route_plan_cuda_test.cc LINK mimo_cuda_route LABELS gpu)
mimo_test(route_cuda_test SOURCES route_cuda_test.cc LINK mimo_cuda_route LABELS gpu)
mimo_test(route_shared_cuda_test SOURCES route_shared_cuda_test.cc LINK mimo_cuda_route LABELS gpu)
