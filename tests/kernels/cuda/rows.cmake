mimo_test(rows_cuda_test SOURCES rows_cuda_test.cc LINK mimo_cuda_rows LABELS gpu)
