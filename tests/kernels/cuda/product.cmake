mimo_test(product_plan_test SOURCES product_plan_test.cc LINK mimo_cuda_product)
mimo_test(product_swap_plan_test SOURCES product_swap_plan_test.cc LINK mimo_cuda_product)
mimo_test(product_resident_plan_test SOURCES product_resident_plan_test.cc LINK mimo_cuda_product)
mimo_test(product_swap_cuda_test SOURCES product_swap_cuda_test.cc LINK mimo_cuda_product
          LABELS gpu)
mimo_test(product_cuda_test SOURCES product_cuda_test.cc LINK mimo_cuda_product LABELS gpu)
mimo_test(product_qkv_cuda_test SOURCES product_qkv_cuda_test.cc LINK mimo_cuda_product LABELS gpu)
mimo_test(product_experts_cuda_test SOURCES product_experts_cuda_test.cc LINK mimo_cuda_product
          LABELS gpu)
mimo_test(product_resident_cuda_test SOURCES product_resident_cuda_test.cc
          LINK mimo_cuda_product LABELS gpu)
mimo_test(product_experts_few_plan_test SOURCES product_experts_few_plan_test.cc
          LINK mimo_cuda_product)
mimo_test(product_experts_few_cuda_test SOURCES product_experts_few_cuda_test.cc
          LINK mimo_cuda_product LABELS gpu)
mimo_test(product_slab_plan_test SOURCES product_slab_plan_test.cc LINK mimo_cuda_product)
mimo_test(product_slab_cuda_test SOURCES product_slab_cuda_test.cc
          LINK mimo_cuda_product LABELS gpu)
mimo_test(invariant_plan_test SOURCES invariant_plan_test.cc
          LINK mimo_cuda_product mimo_cuda_attention mimo_cuda_route)
mimo_test(product_chain_cuda_test SOURCES product_chain_cuda_test.cc LINK mimo_cuda_product
          LABELS gpu)
