mimo_test(tile_choice_test SOURCES tile_choice_test.cc LINK mimo_cuda_tile)
mimo_test(tile_cuda_test SOURCES tile_cuda_test.cc LINK mimo_cuda_tile LABELS gpu)
mimo_test(tile_speed_test SOURCES tile_speed_test.cc LINK mimo_cuda_tile LABELS gpu)
