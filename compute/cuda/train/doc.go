// Package train has the ops of compute.Trainer on a GPU.
//
// Activations, and the weights that products read, are bf16; sums, norms' weights, scores, losses,
// gradients of weights and the optimiser's state are float32. Twins are the definitions of package
// compute, which get the same bf16 numbers (computetest.RunGradients, RunActivations, RunDocuments, RunAttentionGradients).
//
//	product.cu, product_group.cu   y = x·Wᵀ, dx = dy·W, dW += dyᵀ·x   product.go
//	product_tensor.cu              the same by tensor maps            product_tensor.go
//	norm.cu       RMSNorm and its gradient                            norm.go
//	token.cu      embedding, loss, and their gradients                token.go
//	importance.cu NOSA's score and its gradient                       importance.go
//	point.cu      element by element: SwiGLU, rotation, AdamW, …      point.go
//	fold.cu       sums of parts in their order                        fold.go
//	documents_attend.cu, documents_queries_grad.cu, documents_keys_grad.cu, documents_list.cu
//	              attention over packed documents and its gradients   documents_attend.go, documents_grad.go
//	documents_attend_group.cu   attention on sm_90a                   documents_attend_kernels.go
//	documents_queries_grad_group.cu, documents_keys_grad_group.cu     its gradients there
//	documents_choose_score.cu, documents_choose.cu
//	              the choice of blocks for packed documents           documents_choose.go
//	documents_received.cu what far rows teach importance scores       documents_received.go
//
// No kernel adds by atomics where order could matter: where thread blocks have sums of parts of the rows, a second kernel
// adds these in order. How rows are cut depends on the shape alone, so that a step has the same bits
// on all GPUs of one compute capability.
//
// # Products
//
// On sm_90a, and where lines are whole eights, tiles of 128 by 192 go through wgmma: widths of models
// are often multiples of 192, and always of 64. Factors come to shared memory as they lie, along k or
// across it, and the tensor cores read either (ptx_group.cuh). Where the driver encodes tensor maps
// the copy engine moves them, and results, in boxes (product_tensor.cu); else threads do
// (product_group.cu). Elsewhere, and for odd lines, mma.sync does the same with less speed (product.cu).
package train
