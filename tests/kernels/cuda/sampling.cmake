mimo_test(sampling_cuda_test SOURCES sampling_cuda_test.cc LINK mimo_cuda_sampling LABELS gpu)
mimo_test(sampling_mask_cuda_test SOURCES sampling_mask_cuda_test.cc LINK mimo_cuda_sampling
          LABELS gpu)
mimo_test(sampling_greedy_cuda_test SOURCES sampling_greedy_cuda_test.cc LINK mimo_cuda_sampling
          LABELS gpu)
mimo_test(sampling_logprobs_cuda_test SOURCES sampling_logprobs_cuda_test.cc
          LINK mimo_cuda_sampling LABELS gpu)
