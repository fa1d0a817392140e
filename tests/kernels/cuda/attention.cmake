mimo_test(attention_plan_test SOURCES attention_plan_test.cc LINK mimo_cuda_attention)
mimo_test(attention_cuda_test SOURCES attention_cuda_test.cc LINK mimo_cuda_attention LABELS gpu
          TIMEOUT 300)
