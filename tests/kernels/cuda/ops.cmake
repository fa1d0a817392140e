mimo_test(ops_cuda_test SOURCES ops_cuda_test.cc LINK mimo_kernels_cuda LABELS gpu)
mimo_test(weight_store_cuda_test SOURCES weight_store_cuda_test.cc LINK mimo_kernels_cuda
          LABELS gpu)
# What is refused before any device is asked.
mimo_test(cuda_refusals_test SOURCES cuda_refusals_test.cc LINK mimo_kernels_cuda)
mimo_test(fold_cuda_test SOURCES fold_cuda_test.cc LINK mimo_kernels_cuda LABELS gpu)
mimo_test(folded_norm_test SOURCES folded_norm_test.cc LINK mimo_kernels_cuda)
mimo_test(invariance_cuda_test SOURCES invariance_cuda_test.cc LINK mimo_kernels_cuda LABELS gpu)
