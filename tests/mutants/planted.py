"""The classic mistakes: what people get wrong when they write these layers by hand.

Each is (what is wrong, file, changes, cases): every change is a text that stands in the file exactly once and what
replaces it; the cases are the rows of gradcheck's table that should see it first.
"""

NORM, ACT, SOFT = "layers/layernorm.py", "layers/activations.py", "layers/softmax.py"
CE, ATT, HEAD = "layers/cross_entropy.py", "layers/attention.py", "layers/lm_head.py"
BLOCK, HEADS, STACK = "blocks/transformer.py", "blocks/multihead.py", "blocks/stack.py"
GPT2, SEQ = "models/gpt2.py", "models/transformer.py"
LORA, ADALORA = "adapt/lora.py", "adapt/adalora.py"
ADAPTER, PREFIX = "adapt/adapter.py", "adapt/prefix.py"
BCE, MSE, ASKED = "layers/binary_cross_entropy.py", "layers/mean_squared_error.py", "models/heads.py"

PLANTED = (
    # ---- layernorm
    ("layernorm: mean term dropped", NORM, [("    out -= (dy @ g_mean)[:, None]\n", "")], ["layernorm"]),
    ("layernorm: xhat term dropped", NORM, [(
        "    out -= np.multiply(xhat, (dy_xhat @ g_mean)[:, None], out=dy_xhat)\n", "")], ["layernorm"]),
    ("layernorm: sign of the mean term", NORM, [("out -= (dy @", "out += (dy @")], ["layernorm"]),
    ("layernorm: 1/std squared", NORM, [("out *= inv_std", "out *= inv_std * inv_std")], ["layernorm"]),
    ("layernorm: g forgotten in dx", NORM, [("np.multiply(dy, g, out=out)", "out[:] = dy")], ["layernorm"]),
    ("layernorm: dg without xhat", NORM, [("ones @ dy_xhat", "ones @ dy_t")], ["layernorm"]),
    ("layernorm: db averaged", NORM, [("ones @ dy_t\n", "ones @ dy_t / len(dy_t)\n")], ["layernorm"]),
    ("layernorm: variance over C - 1", NORM, [("/ C + eps", "/ max(1, C - 1) + eps")], ["layernorm"]),
    ("layernorm: eps outside the root", NORM, [
        ("np.sqrt(dot_rows(xhat_t, xhat_t) / C + eps)", "(np.sqrt(dot_rows(xhat_t, xhat_t) / C) + eps)")],
     ["layernorm"]),
    ("layernorm: eps 1e-6", NORM, [("eps: float = 1e-5) -> tuple", "eps: float = 1e-6) -> tuple")], ["layernorm"]),
    ("layernorm: E[x^2] - E[x]^2", NORM, [
        ("dot_rows(xhat_t, xhat_t) / C + eps", "dot_rows(x_t, x_t) / C - (x_t @ mean)[:, None] ** 2 + eps")],
     ["layernorm"]),
    ("layernorm: mean over the rows", NORM, [("(x_t @ mean)[:, None], out=xhat_t", "x_t.mean(axis=0), out=xhat_t")],
     ["layernorm"]),
    ("layernorm: backward writes into dy", NORM, [
        ("np.ones_like(inv_t[:, 0]), dy_t * xhat_t", "np.ones_like(inv_t[:, 0]), np.multiply(dy_t, xhat_t, out=dy_t)")],
     ["layernorm"]),
    ("layernorm: sums though all is frozen", NORM, [
        ("if not (self.g.trainable or self.b.trainable):", "if False:")], ["LayerNorm"]),
    ("layernorm: a gain trained alone gets nothing", NORM, [
        ("not (self.g.trainable or self.b.trainable)", "not (self.g.trainable and self.b.trainable)")], ["LayerNorm"]),
    # ---- activations
    ("gelu: 0.0447 in the slope", ACT, [("xx *= 3 * A3", "xx *= 3 * A3 * 0.0447 / 0.044715")], ["gelu"]),
    ("gelu: factor 3 forgotten", ACT, [("xx *= 3 * A3", "xx *= A3")], ["gelu"]),
    ("gelu: slope without 1 +", ACT, [("        slope_t += 1\n", "")], ["gelu"]),
    ("gelu: slope without x", ACT, [("slope_t *= y_t   ", "slope_t /= inv_s   ")], ["gelu"]),
    ("gelu: slope from x - y", ACT, [("slope_t *= y_t   ", "slope_t[:] = x_t - y_t   ")], ["gelu"]),
    ("gelu: another constant throughout", ACT, [("A3 = A1 * 0.044715", "A3 = A1 * 0.04715")], ["gelu"]),
    ("gelu: exp overflows", ACT, [("    np.minimum(out, LIMIT, out=out)\n", "")], ["gelu"]),
    ("gelu: forward writes into x", ACT, [("xx = x_t * x_t\n", "xx = np.multiply(x_t, x_t, out=x_t)\n")], ["gelu"]),
    ("gelu_erf: slope without x phi(x)", ACT, [("        slope_t += y_t\n", "        slope_t[:] = y_t\n")],
     ["gelu_erf"]),
    ("gelu_erf: phi without x", ACT, [("        slope_t *= x_t\n", "")], ["gelu_erf"]),
    ("gelu: the erf form in GPT-2", ACT, [
        ("GELU = Activation(gelu_forward, gelu_backward, gelu)",
         "GELU = Activation(gelu_erf_forward, gelu_erf_backward, gelu_erf)")], ["MLP"]),
    ("gelu_erf: 1 - Phi cancels", ACT, [
        ("np.maximum(y_t, np.minimum(1 - y_t, x_t + 0.5), out=y_t)        #",
         "np.maximum(1 - (1 - y_t), np.minimum(1 - y_t, x_t + 0.5), out=y_t)        #")],
     ["gelu_erf"]),
    ("gelu: computed in float32", ACT, [
        ('y, slope = np.empty_like(x, order="C"), np.empty_like(x, order="C")\n'
         "    for x_t, y_t, slope_t in tiles(x, y, slope):\n        xx",
         'y, slope = np.empty_like(x, order="C", dtype="f"), np.empty_like(x, order="C")\n'
         "    for x_t, y_t, slope_t in tiles(x, y, slope):\n        xx")], ["gelu"]),
    ("relu: the sign of dy decides", ACT, [("dy * (y > 0)", "dy * (dy > 0)")], ["relu"]),
    ("relu: zero lets through", ACT, [("dy * (y > 0)", "dy * (y >= 0)")], ["relu"]),
    ("tanh: 1 - y", ACT, [("    dx = y * y\n", "    dx = y.copy()\n")], ["tanh"]),
    ("tanh: backward writes into the cache", ACT, [("    dx = y * y\n", "    dx = np.multiply(y, y, out=y)\n")],
     ["tanh"]),
    # ---- softmax
    ("softmax: only the diagonal p (1 - p)", SOFT, [
        ("np.subtract(dy_t, dx_t.sum(axis=-1, keepdims=True), out=dx_t)", "np.subtract(dy_t, dx_t, out=dx_t)")],
     ["softmax"]),
    ("softmax: sum over the wrong axis", SOFT, [("dx_t.sum(axis=-1, keepdims=True)", "dx_t.sum(axis=0)")],
     ["softmax"]),
    ("softmax: mean for sum", SOFT, [("dx_t.sum(axis=-1, keepdims=True)", "dx_t.mean(axis=-1, keepdims=True)")],
     ["softmax"]),
    ("softmax: sign", SOFT, [("np.subtract(dy_t, dx_t.sum(", "np.add(dy_t, dx_t.sum(")], ["softmax"]),
    ("softmax: largest not subtracted", SOFT, [("x.max(axis=-1, keepdims=True)", "x[..., :1] * 0")], ["softmax"]),
    ("log_softmax: log of the softmax", SOFT, [
        ("y_t -= np.log(np.exp(y_t).sum(axis=-1, keepdims=True))",
         "np.exp(y_t, out=y_t); y_t[:] = np.log(y_t / y_t.sum(axis=-1, keepdims=True))")], ["log_softmax"]),
    ("log_softmax: digits lost far from 0", SOFT, [
        ("y_t -= np.log(np.exp(y_t).sum(axis=-1, keepdims=True))",
         "y_t[:] = x_t - (x_t.max(axis=-1, keepdims=True) + np.log(np.exp(y_t).sum(axis=-1, keepdims=True)))")],
     ["log_softmax"]),
    ("log_softmax: no sum of dy", SOFT, [("dx_t *= dy_t.sum(axis=-1, keepdims=True)", "dx_t *= dy_t")],
     ["log_softmax"]),
    # ---- cross-entropy
    ("cross-entropy: gradient not averaged", CE, [("(dloss * weight)", "(dloss * (weight > 0))")], ["cross_entropy"]),
    ("cross-entropy: dloss ignored", CE, [("(dloss * weight)", "(1.0 * weight)")], ["cross_entropy"]),
    ("cross-entropy: a float64 dloss promotes", CE, [
        ("return (dloss * weight).astype(weight.dtype)", "return dloss * weight")], ["lm_head_loss"]),
    ("cross-entropy: 0 times infinity", CE, [("np.where(weight == 0, 0, nll[:, 0])", "nll[:, 0]")], ["cross_entropy"]),
    ("cross-entropy: dloss squared", CE, [("(dloss * weight)", "(dloss * dloss * weight)")], ["cross_entropy"]),
    ("cross-entropy: - onehot forgotten", CE, [
        ("    rows(dlogits)[row, safe] -= (1 - label_smoothing) * scale[:, 0]\n", "")], ["cross_entropy"]),
    ("cross-entropy: sum for mean", CE, [("counts / total", "counts")], ["cross_entropy"]),
    ("cross-entropy: mean over ignored ones too", CE, [
        ("np.maximum(counts.sum(), 1)", "max(1, counts.size)")], ["cross_entropy"]),
    ("cross-entropy: no smoothing in backward", CE, [
        ("        if label_smoothing:\n            d_t -= label_smoothing / V * scale_t\n", "")],
     ["cross_entropy, smooth"]),
    ("cross-entropy: backward overwrites p", CE, [("dlogits = np.empty_like(p)", "dlogits = p")], ["cross_entropy"]),
    ("cross-entropy: digits lost far from 0", CE, [
        ("expected = expected_logit(p_t, target,", "expected = expected_logit(z, target,"),
        ("np.log(total), expected", "z.max(axis=-1, keepdims=True) + np.log(total), expected")],
     ["cross_entropy"]),
    ("cross-entropy: NaN where no target counts", CE, [("np.maximum(counts.sum(), 1)", "counts.sum()")],
     ["cross_entropy"]),
    # ---- attention
    ("attention: dq not scaled", ATT, [("    dq *= 1 / math.sqrt(D)\n", "")], ["attention"]),
    ("attention: dk not scaled", ATT, [("    dk *= 1 / math.sqrt(D)\n", "")], ["attention"]),
    ("attention: dq scaled twice", ATT, [("dq *= 1 / math.sqrt(D)", "dq *= 1 / D")], ["attention"]),
    ("attention: no scale anywhere", ATT, [("(1 / math.sqrt(D))) @", "1) @"), ("    dq *= 1 / math.sqrt(D)\n", ""),
                                           ("    dk *= 1 / math.sqrt(D)\n", "")], ["attention"]),
    ("attention: dk from dy", ATT, [("dp.swapaxes(2, 3) @ q_t", "dp.swapaxes(2, 3) @ dy_t")], ["attention"]),
    ("attention: dq from v", ATT, [("np.matmul(dp, k_s,", "np.matmul(dp, v_s,")], ["attention"]),
    ("attention: dv from y", ATT, [(".swapaxes(2, 3) @ dy_t", ".swapaxes(2, 3) @ y_t")], ["attention"]),
    ("attention: softmax without its sum", ATT, [
        ('        dp -= np.einsum("bhtd,bhtd->bht", dy_t, y_t)[..., None]\n', "")], ["attention"]),
    ("attention: p forgotten in dscores", ATT, [
        ("        dp *= p                                         # dscores\n", "")], ["attention"]),
    ("attention: gradient of the last block only", ATT, [
        ("dk[b, h, keys] += dp", "dk[b, h, keys] = dp")], ["attention"]),
    ("attention: heads merged without a transpose", ATT, [
        ("x.swapaxes(1, 2).reshape(B, T, H * D)", "x.reshape(B, T, H * D)")], ["SelfAttention"]),
    ("attention: heads interleaved", ATT, [
        ("x.reshape(B, T, H, C // H).swapaxes(1, 2)", "x.reshape(B, T, C // H, H).transpose(0, 3, 1, 2)")],
     ["SelfAttention"]),
    ("attention: sees the next token", ATT, [("shape=(n, n)), 1)", "shape=(n, n)), 2)")], ["attention, causal"]),
    ("attention: does not see itself", ATT, [("shape=(n, n)), 1)", "shape=(n, n)), 0)")], ["attention, causal"]),
    ("attention: mask of -10 leaks", ATT, [("np.full_like(q, -math.inf,", "np.full_like(q, -10.0,")],
     ["attention, causal"]),
    ("attention: aligned at the upper left", ATT, [("seen = S - T + last if", "seen = last if")],
     ["attention, causal"]),
    ("attention: padding mask inverted", ATT, [("np.where(padding_mask,", "np.where(~padding_mask,")],
     ["attention, padded"]),
    ("attention: padding forgotten where causal", ATT, [
        ("if padding is not None:", "if padding is not None and not causal:")], ["attention, both masks"]),
    ("attention: padding aligned at the right", ATT, [
        ("padding[b, :, :, keys]", "padding[b, :, :, -p.shape[3]:]")], ["attention, both masks"]),
    ("attention: NaN where nothing is seen", ATT, [
        ("np.maximum(p.max(axis=-1, keepdims=True), LOWEST)", "p.max(axis=-1, keepdims=True)")],
     ["attention, padded"]),
    ("attention: largest score not subtracted", ATT, [
        ("        p -= np.maximum(p.max(axis=-1, keepdims=True), LOWEST)\n", "")], ["attention"]),
    ("attention: dropout not in dp", ATT, [
        ("_dropped(dy_t @ v_s.swapaxes(2, 3), keep, dropout)", "dy_t @ v_s.swapaxes(2, 3)")], ["attention, dropout"]),
    ("attention: dropout before the softmax's sum", ATT, [
        ("        keep = draw_keep(p, dropout, rng) if dropout and rng is not None else None\n",
         "        keep = draw_keep(p, dropout, rng) if dropout and rng is not None else None\n"
         "        p = p if keep is None else p * keep\n")], ["attention, dropout"]),
    ("attention: a float64 constant promotes", ATT, [("(1 / math.sqrt(D))) @", "(1 / np.sqrt(D))) @")], ["attention"]),
    # ---- embedding, linear, dropout
    ("embedding: += loses repeated ids", "layers/embedding.py", [
        ("np.add.at(flat, (first + columns).reshape(-1), dy_t.reshape(-1))",
         "flat[(first + columns).reshape(-1)] += dy_t.reshape(-1)")], ["embedding"]),
    ("embedding: assigned, not added", "layers/embedding.py", [
        ("np.add.at(flat, (first + columns).reshape(-1), dy_t.reshape(-1))",
         "flat[(first + columns).reshape(-1)] = dy_t.reshape(-1)")], ["embedding"]),
    ("embedding: places overflow in the ids' own dtype", "layers/embedding.py", [
        ("ids.astype(np.int64)[..., None]", "ids[..., None]")], ["embedding"]),
    ("embedding: sums lost in a copy", "layers/embedding.py", [
        ('dw = np.zeros_like(w, order="C")', "dw = np.zeros_like(w)"),
        ("    if not dw.flags.c_contiguous:\n", "    if False:\n")], ["embedding"]),
    ("embedding: the gradient that is there is lost", "layers/embedding.py", [
        ("            add_rows(self.grad, ids, dy if scale == 1 else dy * scale)",
         "            self.grad = embedding_backward(dy, cache)")],
     ["Embedding"]),
    ("embedding: a dy that broadcasts is accepted", "layers/embedding.py", [
        ('    check_shape("dy", dy, (*ids.shape, C))\n', "")], ["Embedding"]),
    ("embedding: negative ids wrap", "layers/embedding.py", [('    check_ids("ids", ids, len(w))\n', "")],
     ["embedding"]),
    ("linear: dw averaged", "layers/linear.py", [
        ("dw = rows(x).T @ rows(dy)", "dw = rows(x).T @ rows(dy) / max(1, len(rows(x)))")], ["linear"]),
    ("linear: db of the last sequence only", "layers/linear.py", [
        ("db = sum_rows(dy)\n", "db = sum_rows(dy[-1:])\n")], ["linear"]),
    ("linear: w for w' where it is square", "layers/linear.py", [
        ("rows(dy) @ w.T", "rows(dy) @ (w if w.shape[0] == w.shape[1] else w.T)")], ["SelfAttention"]),
    ("linear: reads memory in Fortran order", "layers/tiles.py", [
        ("x.reshape(math.prod(x.shape[:-1]), x.shape[-1])",
         'x.reshape(math.prod(x.shape[:-1]), x.shape[-1], order="A")')], ["linear"]),
    ("linear: x kept for a frozen w", "layers/linear.py", [
        ("return y, cache if self.w.trainable else (x.shape, self.w.value)", "return y, cache")], ["Linear"]),
    ("linear: no gradient for b where w is frozen", "layers/linear.py", [
        ("            if self.b.trainable:\n                self.b.accumulate(sum_rows(dy))\n", "")], ["Linear"]),
    ("dropout: not scaled", "layers/dropout.py", [("    y *= 1 / (1 - rate)\n", "")], ["dropout"]),
    ("dropout: not scaled either way", "layers/dropout.py", [
        ("    y *= 1 / (1 - rate)\n", ""), ("    dx *= 1 / (1 - rate)\n", "")], ["dropout"]),
    ("dropout: keeps with the rate", "layers/dropout.py", [(">= rate, like=x", "< rate, like=x")], ["dropout"]),
    ("dropout: backward writes into dy", "layers/dropout.py", [
        ("    dx = dy * keep\n", "    dx = np.multiply(dy, keep, out=dy)\n")], ["dropout"]),
    # ---- the head with its loss
    ("head and loss: - onehot forgotten in dx", HEAD, [("    dx -= wte[safe] * (1 - label_smoothing)\n", "")],
     ["lm_head_loss"]),
    ("head and loss: - onehot forgotten in dwte", HEAD, [
        ("    add_rows(dw, safe, scaled * (label_smoothing - 1))\n", "")], ["lm_head_loss"]),
    ("head and loss: repeated targets lost", HEAD, [
        ("add_rows(dw, safe, scaled * (label_smoothing - 1))",
         "dw[safe] += scaled * (label_smoothing - 1)")], ["lm_head_loss"]),
    ("head and loss: not divided by the sum", HEAD, [("(scaled / total)", "scaled")], ["lm_head_loss"]),
    ("head and loss: mean of each part", HEAD, [
        ("len(wte), label_smoothing, counted)", "len(wte), label_smoothing, None)")], ["lm_head_loss, bias"]),
    ("head: bias without its gradient", HEAD, [
        ("            self.b.accumulate(*db)\n", "            pass\n")], ["LMHead"]),
    # ---- wiring
    ("GPT-2: gradient of the tied head lost", HEAD, [("        self.wte.accumulate(dwte)\n", "")], ["GPT2"]),
    ("GPT-2: gradient of the embedding lost", GPT2, [("        self.wte.backward(dx, c_wte)\n", "")], ["GPT2"]),
    ("GPT-2: positions backwards", GPT2, [("dx.sum(axis=0), c_wpe", "dx.sum(axis=0)[::-1], c_wpe")], ["GPT2"]),
    ("GPT-2: positions averaged", GPT2, [("dx.sum(axis=0), c_wpe", "dx.mean(axis=0), c_wpe")], ["GPT2"]),
    ("GPT-2: positions from 1", "models/tokens.py", [
        ("np.arange(before + S - T, before + S, like=like)",
         "np.arange(before + S - T + 1, before + S + 1, like=like)")], ["GPT2"]),
    ("GPT-2: gradient halved below the head", GPT2, [
        ("        dx = self.lm_head.backward(dlogits, c_head)\n",
         "        dx = self.lm_head.backward(dlogits, c_head) * 0.5\n")], ["GPT2"]),
    ("GPT-2: backward through ln_f forgotten", GPT2, [("        dy = self.ln_f.backward(dy, c_ln_f)\n", "")], ["GPT2"]),
    ("GPT-2: mean of each part", GPT2, [("dx = self.lm_head.loss_backward(1.0, c_loss)",
                                         "dx = self.lm_head.loss_backward(0.5, c_loss)")], ["GPT2"]),
    ("GPT-2: gradients added before a used cache is refused", GPT2, [
        ("        check_unused(cache)\n        c_hidden, c_head", "        c_hidden, c_head")], ["GPT2"]),
    ("GPT-2: no gradient for the positions alone", GPT2, [
        ("self.wte.trainable or self.wpe.trainable", "self.wte.trainable")], ["GPT2"]),
    ("GPT-2: no dx for who asks", GPT2, [("needs_dx = needs_dx or self.wte", "needs_dx = self.wte")], ["GPT2"]),
    ("stack: blocks from the bottom in backward", STACK, [("in reversed(self):", "in self:")], ["Stack"]),
    ("stack: frozen rule one block too high", STACK, [("next((i for i, needed", "next((i + 1 for i, needed")],
     ["Stack"]),
    ("stack: frozen rule one block too low", STACK, [("next((i for i, needed", "next((max(0, i - 1) for i, needed")],
     ["Stack"]),
    ("stack: one trained parameter does not count", STACK, [("(any(p.trainable", "(all(p.trainable")], ["Stack"]),
    ("stack: frozen rule though dx is needed", STACK, [("0 if needs_dx else self.lowest()", "self.lowest()")],
     ["Stack, frozen, dx"]),
    ("stack: caches of frozen blocks kept", STACK, [("keep = keep_cache and i >= first", "keep = keep_cache")],
     ["Stack"]),
    ("stack: caches of frozen blocks made, then dropped", STACK, [
        ("keep_cache=keep and before is None", "keep_cache=keep_cache and before is None"),
        ("cache.append(before or c_block)", "cache.append(before or (c_block if keep else None))")], ["Stack"]),
    ("stack: other numbers dropped when recomputed", STACK, [("copy.deepcopy(rng)", "rng")], ["Stack, recomputed"]),
    ("stack: padding forgotten when recomputed", STACK, [
        ("block.forward(x, rng=rng, **inputs)", "block.forward(x, rng=rng)")], ["Stack, recomputed"]),
    ("stack: every block for the last positions alone", STACK, [("last if i + 1 == len(self) else None", "last")],
     ["GPT2"]),
    ("stack: half a cache left by a dy that is refused", STACK, [
        ("caches = cache.copy()\n        cache.clear()\n", "caches = cache\n")], ["Stack"]),
    ("block: residual around the MLP lost", BLOCK, [
        ("dx = dy + self.ln_2.backward(dh, c_ln_2)", "dx = self.ln_2.backward(dh, c_ln_2)")], ["PreNormBlock"]),
    ("block: residual around attention lost", BLOCK, [
        ("dx = dx + self.ln_1.backward(dh, c_ln_1)\n        return dx\n",
         "dx = self.ln_1.backward(dh, c_ln_1)\n        return dx\n")], ["PreNormBlock"]),
    ("block: residual lost both ways", BLOCK, [
        ("        x = x + h\n        h, c_ln_2 = self.ln_2.forward(x)\n        h, c_mlp",
         "        x = h\n        h, c_ln_2 = self.ln_2.forward(x)\n        h, c_mlp"),
        ("dx = dx + self.ln_1.backward(dh, c_ln_1)\n        return dx\n",
         "dx = self.ln_1.backward(dh, c_ln_1)\n        return dx\n")], ["PreNormBlock"]),
    ("block: post-norm residual from dy", BLOCK, [
        ("c_attn, c_ln_1, c_mlp, c_ln_2 = cache\n        dh = self.ln_2.backward(dy, c_ln_2)\n        dx = dh +",
         "c_attn, c_ln_1, c_mlp, c_ln_2 = cache\n        dh = self.ln_2.backward(dy, c_ln_2)\n        dx = dy +")],
     ["PostNormBlock"]),
    ("block: dk and dv of the memory swapped", HEADS, [
        ("[merge_heads(dk), merge_heads(dv)]", "[merge_heads(dv), merge_heads(dk)]")], ["CrossAttention"]),
    ("block: dq, dk, dv in the wrong order", HEADS, [
        ("merge_heads(dq), merge_heads(dk), merge_heads(dv)", "merge_heads(dv), merge_heads(dk), merge_heads(dq)")],
     ["SelfAttention"]),
    ("block: self-attention not causal", BLOCK, [
        ("causal=causal, dropout=dropout,\n" + " " * 34 + "attention_dropout=attention_dropout, std=std, "
         "dtype=dtype)\n        self.ln_2",
         "causal=False, dropout=dropout,\n" + " " * 34 + "attention_dropout=attention_dropout, std=std, "
         "dtype=dtype)\n        self.ln_2")],
     ["PreNormBlock"]),
    ("block: eps of the second norm forgotten", BLOCK, [
        ("std=std, dtype=dtype)\n        self.ln_2 = LayerNorm(n_embd, eps=eps, dtype=dtype)\n\n    def forward",
         "std=std, dtype=dtype)\n        self.ln_2 = LayerNorm(n_embd, dtype=dtype)\n\n    def forward")],
     ["PostNormBlock, varied"]),
    ("block: ReLU whatever is asked for", BLOCK, [
        ("activation=activation, n_inner=n_inner, dropout=dropout, std=std, dtype=dtype)\n        self.ln_3",
         "activation=RELU, n_inner=n_inner, dropout=dropout, std=std, dtype=dtype)\n        self.ln_3")],
     ["DecoderBlock, varied"]),
    ("block: post-norm never causal", BLOCK, [
        ("causal=causal, dropout=dropout,\n" + " " * 34 + "attention_dropout=attention_dropout, std=std, "
         "dtype=dtype)\n        self.ln_1",
         "causal=False, dropout=dropout,\n" + " " * 34 + "attention_dropout=attention_dropout, std=std, "
         "dtype=dtype)\n        self.ln_1")], ["PostNormBlock, varied"]),
    ("Transformer: not times sqrt(C)", SEQ, [("scale=math.sqrt(C), dtype", "scale=1.0, dtype")], ["Transformer"]),
    ("Transformer: padding of the source is seen", SEQ, [
        ("memory_padding_mask=source_mask, rng=rng", "memory_padding_mask=None, rng=rng")], ["Transformer"]),
    ("Transformer: the encoder looks back only", SEQ, [("rng, causal=False, **options", "rng, causal=True, **options")],
     ["Transformer"]),
    ("Transformer: the encoder gets no gradient", SEQ, [
        ("            self.encode_backward(dmemory, c_encode)\n", "            pass\n")],
     ["Transformer"]),
    ("Transformer: of one block the memory's gradient", STACK, [
        ("dmemory = dmemory_of_block if dmemory is None else dmemory + dmemory_of_block",
         "dmemory = dmemory_of_block")], ["Transformer"]),
    ("Transformer: the last norm forgotten in backward", SEQ, [
        ("            dmemory = self.ln_encoder.backward(dmemory, c_ln)\n", "            pass\n")],
     ["Transformer, pre"]),
    ("Transformer: smoothed where it is measured", SEQ, [
        ("loss, _ = self.lm_head.loss(x, targets, counted=counted)",
         "loss, _ = self.lm_head.loss(x, targets, label_smoothing=self.label_smoothing, counted=counted)")],
     ["Transformer"]),
    # ---- heads, and their losses
    ("binary cross-entropy: mean over the rows", BCE, [("np.maximum(counts.sum(), 1)", "max(1, len(counts))")],
     ["binary_cross_entropy"]),
    ("binary cross-entropy: what is left out counts", BCE, [
        ("counts = (~left_out).astype(logits.dtype)", "counts = np.ones_like(z)")], ["binary_cross_entropy"]),
    ("binary cross-entropy: p - t, which is rounded to 0", BCE, [
        ("((1 - t) * p - t * other) * weight", "(p - t) * weight")], ["binary_cross_entropy"]),
    ("binary cross-entropy: exp of large logits", BCE, [("np.exp(-np.maximum(z, -z))", "np.exp(-z)")],
     ["binary_cross_entropy"]),
    ("binary cross-entropy: targets for logits", BCE, [("- z * t", "- z * (1 - t)")], ["binary_cross_entropy"]),
    ("binary cross-entropy: broadcast", BCE, [('    check_shape("targets", targets, logits.shape)\n', "")],
     ["binary_cross_entropy"]),
    ("squared error: (B,) against (B, 1)", MSE, [('    check_shape("targets", targets, y.shape)\n', "")],
     ["mean_squared_error"]),
    ("squared error: the 2 forgotten", MSE, [("dloss * 2 / n", "dloss / n")], ["mean_squared_error"]),
    ("squared error: mean over the rows", MSE, [("targets.size if counted", "len(targets) if counted")],
     ["mean_squared_error"]),
    ("squared error: a part divided by itself", MSE, [("targets.size if counted is None else counted",
                                                       "targets.size")], ["mean_squared_e., part"]),
    ("heads: GPT-2's last column, real or not", GPT2, [("T - 1 - real[:, ::-1].argmax(axis=1)", "T - 1")],
     ["Classifier, GPT-2"]),
    ("heads: as many real tokens as the last is far", GPT2, [
        ("T - 1 - real[:, ::-1].argmax(axis=1)", "real.sum(axis=1) - 1")], ["Classifier, GPT-2"]),
    ("heads: pooled without the mask", ASKED, [("return self.body.pooled(x, padding_mask)",
                                               "return self.body.pooled(x)")], ["Classifier, GPT-2"]),
    ("heads: read without the mask", ASKED, [
        ("segments=segments, padding_mask=padding_mask, rng=rng, keep_cache=trained)",
         "segments=segments, rng=rng, keep_cache=trained)")], ["Classifier, BERT"]),
    ("heads: what dropout dropped forgotten", ASKED, [
        ("dy = dropout_backward(self.head.backward(dlogits, c_head), c_dropout)",
         "dy = self.head.backward(dlogits, c_head)")], ["TokenClassifier"]),
    ("heads: all is kept of a frozen body", ASKED, [
        ("trained = keep_cache and any(p.trainable for _, p in self.body.named_parameters())", "trained = keep_cache")],
     ["Classifier, BERT"]),
    ("heads: a body of which one part is frozen", ASKED, [("keep_cache and any(", "keep_cache and all(")],
     ["Classifier, BERT"]),
    ("heads: the loss of a part divided by the part", ASKED, [
        ("like=logits), counted=counted, **options)", "like=logits), **options)")],
     ["TokenClassifier"]),
    ("heads: targets of numbers counted as labels", ASKED, [
        ("mean_squared_error_backward, check_values, np.size)", "mean_squared_error_backward, check_values, len)")],
     ["Classifier, BERT"]),
    ("heads: padding may be an answer", ASKED, [
        ("np.where(real, logits.swapaxes(1, 2), LOWEST)", "logits.swapaxes(1, 2) + 0")], ["AnswerFinder"]),
    ("heads: the gradient of padding's logits", ASKED, [("(dlogits * real).swapaxes", "dlogits.swapaxes")],
     ["AnswerFinder"]),
    ("heads: start and end mixed up", ASKED, [("(dlogits * real).swapaxes(1, 2)",
                                              "(dlogits * real)[:, ::-1].swapaxes(1, 2)")], ["AnswerFinder"]),
    ("heads: labels at padding count", ASKED, [("~padding_mask & (targets != IGNORED)", "padding_mask & False")],
     ["TokenClassifier"]),
    ("heads: padding pooled for [CLS]", "models/bert.py", [("not padding_mask[:, 0].all()", "False")],
     ["Classifier, BERT"]),
    ("module: a cache kept on self", NORM, [
        ("        return layernorm_forward(x, self.g.value, self.b.value, self.eps)\n",
         "        y, self.cache = layernorm_forward(x, self.g.value, self.b.value, self.eps)\n"
         "        return y, self.cache\n")], ["LayerNorm"]),
    ("module: a constant copied for each replica", "layers/module.py", [
        ("        shared |= {id(c.value): c.value for _, c in self.named_constants()}\n", "")], ["Linear"]),
    ("parameter: gradient replaced, not added", "layers/module.py", [("self.grad += grad", "self.grad = grad")],
     ["GPT2"]),
    ("parameter: a frozen one gets a gradient", "layers/module.py", [
        ("        if not self.trainable:\n            return\n", "")], ["Linear"]),
    # ---- few parameters
    ("lora: alpha where alpha / r should be", LORA, [("else alpha / r\n", "else alpha\n")], ["LoRALinear"]),
    ("lora: du without the scale", LORA, [("else t.T @ dy", "else t.T @ dy / scale")], ["lora"]),
    ("lora: da without the scale", LORA, [("rows(x).T @ dt", "rows(x).T @ (dt / scale)")], ["lora"]),
    ("lora: dx of the base alone", LORA, [
        ("            dx += dropout_backward(part.backward(dy[..., first:end], c_part), c_dropout)",
         "            part.backward(dy[..., first:end], c_part)")], ["LoRALinear"]),
    ("lora: dropout forgotten on the way back", LORA, [
        ("dx += dropout_backward(part.backward(dy[..., first:end], c_part), c_dropout)",
         "dx += part.backward(dy[..., first:end], c_part)")], ["LoRALinear, varied"]),
    ("lora: the base sees dropout too", LORA, [
        ("y, c_linear = super().forward(x)\n        x, c_dropout = dropout_forward(x, self.lora_dropout, rng)",
         "x, c_dropout = dropout_forward(x, self.lora_dropout, rng)\n        y, c_linear = super().forward(x)")],
     ["LoRALinear, varied"]),
    ("lora: v where q should be", LORA, [("y[..., first:end] += update", "y[..., -end:][..., :end - first] += update")],
     ["LoRALinear, varied"]),
    ("lora: merged without the scale", LORA, [("+= part.scale * (part.a", "+= (part.a")], ["LoRALinear"]),
    ("lora: u drawn too", LORA, [
        ("self.u = Parameter(Blank((r, n_out), dtype))", "self.u = Parameter(initial(rng, (r, n_out), 0.02, dtype))")],
     ["LoRALinear"]),
    ("adalora: de without the scale", ADALORA, [("(t * dte).sum(axis=0) * scale", "(t * dte).sum(axis=0)")],
     ["adalora"]),
    ("adalora: dt without e", ADALORA, [("dt = dte * (scale * e)", "dt = dte * scale")], ["adalora"]),
    ("adalora: divided by the rank that is left", ADALORA, [
        ("self.scale = alpha / (self.first_r + 1e-5)", "self.scale = alpha / (r + 1e-5)")], ["AdaLoRALinear"]),
    ("orthogonality: 2 where 4 should be", ADALORA, [("scale = 4 * dloss", "scale = 2 * dloss")], ["orthogonality"]),
    ("orthogonality: q is to be 0", ADALORA, [("for gram in (gram_p, gram_q):", "for gram in (gram_p,):")],
     ["orthogonality"]),
    ("budget: sensitivity without its uncertainty", ADALORA, [
        ("self.sensitivity[path] * self.uncertainty[path]", "self.sensitivity[path]")], ["AdaLoRALinear"]),
    ("budget: sensitivity of one step", ADALORA, [
        ("mean = self.sensitivity.get(path, 0.0) * self.beta1 + ", "mean = ")], ["AdaLoRALinear"]),
    ("budget: what matters most is cut away", ADALORA, [("np.argsort(-np.concatenate", "np.argsort(np.concatenate")],
     ["AdaLoRALinear"]),
    ("budget: it falls with the square", ADALORA, [("* (1 - s) ** 3", "* (1 - s) ** 2")], ["AdaLoRALinear"]),
    ("budget: what was cut away grows again at the end", ADALORA, [
        ("        if step < end and (step", "        if step > end or (step")], ["AdaLoRALinear"]),
    ("budget: each step without the penalty", ADALORA, [
        ("            for parameter, gradient in zip((layer.p, layer.q), orthogonality_backward(self.gamma, cache)):\n"
         "                parameter.accumulate(gradient)\n", "")], ["AdaLoRALinear"]),
    ("adapter: the residual forgotten", ADAPTER, [("        y += x\n", "")], ["Adapter"]),
    ("adapter: the residual forgotten on the way back", ADAPTER, [("        dx += dy\n", "")], ["Adapter"]),
    ("adapter: up drawn too", ADAPTER, [("Linear(width, n_embd, None, dtype=dtype)", "Linear(width, n_embd, rng, "
                                         "dtype=dtype)")], ["AdapterLinear"]),
    ("prefix: behind the text", PREFIX, [
        ("y[:, :, :P] = split_heads(prefix[None], H)\n    y[:, :, P:] = k",
         "y[:, :, T:] = split_heads(prefix[None], H)\n    y[:, :, :T] = k")], ["prefix"]),
    ("prefix: gradient of the first sequence alone", PREFIX, [("dy[:, :, :P].sum(axis=0)[None]", "dy[:1, :, :P]")],
     ["prefix"]),
    ("prefix: hidden by a padding mask", PREFIX, [("seen = np.ones_like(padding_mask,", "seen = np.zeros_like("
                                                   "padding_mask,")], ["Prefix..., padded"]),
    ("prefix: dk and dv exchanged", PREFIX, [
        ("self.prefixes_backward(dprefix_k, dprefix_v, c_prefixes)",
         "self.prefixes_backward(dprefix_v, dprefix_k, c_prefixes)")], ["PrefixSelfAttention"]),
    ("prefix: put before each token of a past again", PREFIX, [
        ("            k, v = past.append(k, v)  ",
         "            k, v = (prefix_forward(a, p)[0] for a, p in zip(past.append(k, v), self.prefixes()[0]))  ")],
     ["PrefixSelfAttention"]),
    ("prefix: it is forgotten with the text", PREFIX, [("self.cache.forget(self.P + length)", "self.cache.forget("
                                                        "length)")], ["PrefixSelfAttention"]),
    ("prefix: the text begins at 0", GPT2, [
        ("positions_of(T, S, padding_mask, tokens, self.h.before)", "positions_of(T, S, padding_mask, tokens)")],
     ["MLPPrefixSelfAttn."]),
)

# Mistakes that begin at a size, for `python -m tests.mutants --large`: below it, all is right.
PLANTED_LARGE = (
    ("layernorm: no eps in wide rows", NORM, [("/ C + eps)", "/ C + eps * (C <= 64))")], ["layernorm"]),
    ("layernorm: mean in float32 for wide rows", NORM, [
        ("mean = np.full_like(g, 1 / C)", "mean = np.full_like(g, 1 / C if C <= 256 else np.float32(1 / C))")],
     ["layernorm"]),
    ("layernorm: dg of 256 rows alone", NORM, [("dg += ones @ dy_xhat", "dg += ones[:256] @ dy_xhat[:256]")],
     ["layernorm"]),
    ("layernorm: dg of the last tile alone", NORM, [("        dg += ones @ dy_xhat", "        dg[:] = ones @ dy_xhat")],
     ["layernorm"]),
    ("layernorm: db counted twice in wide rows", NORM, [
        ("db += ones @ dy_t", "db += (1 + (dy_t.shape[1] > 128)) * ones @ dy_t")], ["layernorm"]),
    ("gelu: 0 far to the left", ACT, [("np.divide(x_t, inv_s, out=y_t)",
                                       "np.divide(x_t, inv_s, out=y_t); y_t[x_t.real < -5.5] = 0")], ["gelu"]),
    ("gelu: the form for inference without its last tile", ACT, [
        ("        np.multiply(x_t, x_t, out=y_t)\n        exp_minus_u",
         "        if x_t.base is not None and len(x_t) < len(x): y_t[:] = 0; continue\n"
         "        np.multiply(x_t, x_t, out=y_t)\n        exp_minus_u")], ["gelu"]),
    ("gelu_erf: 1 - Phi cancels from -4 on", ACT, [
        ("np.maximum(y_t, np.minimum(1 - y_t, x_t + 0.5), out=y_t)        #",
         "np.maximum(np.where(x_t.real < -4, 1 - (1 - y_t), y_t), np.minimum(1 - y_t, x_t + 0.5), out=y_t)        #")],
     ["gelu_erf"]),
    ("gelu: wide layers by the erf form", ACT, [
        ("    for x_t, y_t, slope_t in tiles(x, y, slope):\n        xx",
         "    if x.shape[-1] > 256:\n        return gelu_erf_forward(x)\n"
         "    for x_t, y_t, slope_t in tiles(x, y, slope):\n        xx")], ["MLP"]),
    ("softmax: largest not subtracted from long rows", SOFT, [
        ("np.subtract(x, x.max(axis=-1, keepdims=True), out=out)",
         "np.subtract(x, x.max(axis=-1, keepdims=True) * (x.shape[-1] < 65), out=out)")], ["softmax"]),
    ("softmax: sum of 128 numbers", SOFT, [("y_t *= 1 / y_t.sum(axis=-1,", "y_t *= 1 / y_t[..., :128].sum(axis=-1,")],
     ["softmax"]),
    ("cross-entropy: targets of 8 bits", CE, [("np.where(targets != IGNORED, targets, 0)",
                                               "np.where(targets != IGNORED, targets, 0) % 256")], ["cross_entropy"]),
    ("cross-entropy: mean over 64 targets at most", CE, [
        ("np.maximum(counts.sum(), 1)", "np.minimum(np.maximum(counts.sum(), 1), 64)")], ["cross_entropy"]),
    ("cross-entropy: no smoothing over a large vocabulary", CE, [
        ("        if label_smoothing:\n            d_t", "        if label_smoothing and V < 257:\n            d_t")],
     ["cross_entropy, smooth"]),
    ("head and loss: float32 for many rows", HEAD, [
        ("e = rows(x) @ wte.T ",
         "e = rows(x) @ (wte.T if len(rows(x)) < 65 or wte.dtype == 'c16' else wte.T.astype('f4')) ")],
     ["lm_head_loss"]),
    ("head and loss: dwte of a small vocabulary alone", HEAD, [
        ("dw = e.T @ (scaled / total)", "dw = e.T @ (scaled / total); dw[256:] = 0")], ["lm_head_loss"]),
    ("attention: wide heads scaled in float32", ATT, [
        ("(q[b, h, queries] * (1 / math.sqrt(D)))",
         "(q[b, h, queries] * (1 / math.sqrt(D) if D <= 64 else np.float32(1 / math.sqrt(D))))")], ["attention"]),
    ("attention: float32 weights where heads are wide", ATT, [
        ("        p *= 1 / (total + (total == 0))",
         "        p *= (1 / (total + (total == 0))).astype(p.dtype if D <= 64 or p.dtype != 'f8' else 'f4')")],
     ["attention"]),
    ("attention: 256 keys at most", ATT, [("seen = S - T + last if causal else S",
                                           "seen = min(256, S - T + last if causal else S)")], ["attention"]),
    ("attention: gradient of the last block of queries alone", ATT, [
        ("dv[b, h, keys] += _dropped", "dv[b, h, keys] = _dropped")], ["attention"]),
    ("attention: a second block looks one ahead", ATT, [
        ("p[..., -t:] += future[:t, :t] ", "p[..., -t:] += future[:t, :t] if queries.start == 0 else "
         "np.triu(future[:t, :t], 2) ")], ["attention, causal"]),
    ("attention: low scores of a whole row give zeros", ATT, [
        ("LOWEST = -1e30 ", "LOWEST = -1e4 ")], ["attention"]),
    ("attention: 64 heads at most", ATT, [
        ("return x.reshape(B, T, H, C // H).swapaxes(1, 2)",
         "return x.reshape(B, T, H, C // H).swapaxes(1, 2)[:, np.arange(H) % 64]")], ["SelfAttention"]),
    ("dropout: the same mask for each 64 columns", "layers/dropout.py", [
        ("    y = x * keep\n", "    keep = keep[..., np.arange(x.shape[-1]) % 64]\n    y = x * keep\n")], ["dropout"]),
    ("embedding: repeated ids lost where there are thousands", "layers/embedding.py", [
        ("        np.add.at(flat, (first + columns).reshape(-1), dy_t.reshape(-1))",
         "        if ids.size > 4096:\n            flat[(first + columns).reshape(-1)] += dy_t.reshape(-1)\n"
         "        else:\n            np.add.at(flat, (first + columns).reshape(-1), dy_t.reshape(-1))")],
     ["embedding"]),
    ("embedding: rows counted twice where they are long", "layers/embedding.py", [
        ("(first + columns).reshape(-1), dy_t.reshape(-1))",
         "(first + columns).reshape(-1), dy_t.reshape(-1) * (1 + (C > 64)))")], ["embedding"]),
    ("embedding: ids of 8 bits", "layers/embedding.py", [("return y, (ids, w, scale)",
                                                          "return y, (ids % 256, w, scale)")], ["embedding"]),
    ("embedding: what is there is lost where ids are many", "layers/embedding.py", [
        ("        if self.grad is None:\n", "        if self.grad is None or cache[0].size > 64:\n")], ["Embedding"]),
    ("linear: db of 256 rows", "layers/linear.py", [("db = sum_rows(dy)\n", "db = sum_rows(rows(dy)[:256])\n")],
     ["linear"]),
    ("linear: dw halved where the input is wide", "layers/linear.py", [
        ("dw = rows(x).T @ rows(dy)", "dw = rows(x).T @ rows(dy) * (0.5 if w.shape[0] > 256 else 1)")], ["linear"]),
    ("tiles: what is left over at the end forgotten", "layers/tiles.py", [
        ("for first in range(0, n, step):", "for first in range(0, n - n % step if n > step else n, step):")],
     ["softmax"]),
    ("tiles: rows beyond 512 not multiplied", "layers/tiles.py", [
        ("    return x @ w\n", "    y = x @ w\n    y[512:] = 0\n    return y\n")], ["linear"]),
    ("stack: the fourth block's cache is the third's", STACK, [
        ("            cache.append(before or c_block)",
         "            cache.append(before or (c_block if i != 3 else cache[2]))")], ["Stack"]),
    ("stack: frozen rule of three blocks", STACK, [
        ("for i, needed in enumerate(trained) if needed), len(self))",
         "for i, needed in enumerate(trained) if needed and i < 3), len(self))")], ["Stack"]),
    ("module: a fifth child has no parameters", "layers/module.py", [
        ("for path, child in [(f\"{name}.{i}\", c) for i, c in enumerate(value)]",
         "for path, child in [(f\"{name}.{i}\", c) for i, c in enumerate(value) if i < 4]")], ["Stack"]),
    ("checks: ids of a long text not looked at", "layers/checks.py", [
        ("if isinstance(ids, np.ndarray):", "if isinstance(ids, np.ndarray) and ids.size < 65:")], ["embedding"]),
    ("past: 64 positions", "blocks/kv_cache.py", [
        ("        end = self.length + T\n",
         "        end = min(64, self.length + T)\n        T = end - self.length\n"
         "        k, v = k[:, :, :T], v[:, :, :T]\n")], ["SelfAttention"]),
    # ---- by another pair of eyes: where else could a size matter?
    ("log_softmax: sum of 128 numbers", SOFT, [("np.exp(y_t).sum(axis=-1,", "np.exp(y_t)[..., :128].sum(axis=-1,")],
     ["log_softmax"]),
    ("softmax: backward of the first 256 columns", SOFT, [
        ("np.subtract(dy_t, dx_t.sum(axis=-1, keepdims=True), out=dx_t)",
         "np.subtract(dy_t, dx_t[..., :256].sum(axis=-1, keepdims=True), out=dx_t)")], ["softmax"]),
    ("cross-entropy: places of 16 bits", CE, [
        ("rows(dlogits)[row, safe] -=", "rows(dlogits)[row, safe.astype(np.int16)] -=")], ["cross_entropy"]),
    ("cross-entropy: what is left out counts in a large batch", CE, [
        ("counts = (targets != IGNORED).astype(like.dtype)",
         "counts = ((targets != IGNORED) | (len(targets) > 256)).astype(like.dtype)")], ["cross_entropy"]),
    ("head and loss: smoothing of a small vocabulary in dwte", HEAD, [
        ("        dw -= sum_rows(scaled) * (label_smoothing / len(wte))",
         "        dw -= sum_rows(scaled) * (label_smoothing / min(256, len(wte)))")], ["lm_head_loss, smooth"]),
    ("head: bias of 256 words", HEAD, [("        logits += b\n", "        logits[..., :256] += b[:256]\n")],
     ["lm_head, bias"]),
    ("attention: padding of 64 sequences", ATT, [
        ("            p += padding[b, :, :, keys]", "            p[:64] += padding[b, :, :, keys][:64]")],
     ["attention, padded"]),
    ("attention: dk of 64 queries of each block", ATT, [
        ("dk[b, h, keys] += dp.swapaxes(2, 3) @ q_t",
         "dk[b, h, keys] += dp[:, :, :64].swapaxes(2, 3) @ q_t[:, :, :64]")], ["attention"]),
    ("attention: nothing dropped where keys are many", ATT, [
        ("if dropout and rng is not None else None", "if dropout and rng is not None and S <= 128 else None")],
     ["attention, dropout"]),
    ("feed-forward: nothing dropped from wide rows", "blocks/feedforward.py", [
        ("dropout_forward(y, self.dropout, rng)",
         "dropout_forward(y, self.dropout if y.shape[2] <= 64 else 0.0, rng)")], ["MLP, varied"]),
    ("GPT-2: positions begin again after 64", GPT2, [
        ("positions_of(T, S, padding_mask, tokens, self.h.before)",
         "positions_of(T, S, padding_mask, tokens, self.h.before) % 64")], ["GPT2"]),
    ("GPT-2: positions of padded rows end at 63", "models/tokens.py", [
        ("np.maximum(padding_mask.cumsum(axis=1) - 1, 0)", "np.clip(padding_mask.cumsum(axis=1) - 1, 0, 63)")],
     ["GPT2"]),
    ("GPT-2: nothing dropped from long texts", GPT2, [
        ("dropout_forward(word + place, self.dropout, rng)",
         "dropout_forward(word + place, self.dropout if T <= 64 else 0.0, rng)")], ["GPT2, dropout"]),
    ("GPT-2: ids of 8 bits", GPT2, [
        ("        return np.asarray(ids, like=self.wte.value)",
         "        return np.asarray(ids % 256, like=self.wte.value)")], ["GPT2"]),
    ("stack: the memory's gradient of three blocks", STACK, [
        ("dmemory_of_block if dmemory is None else dmemory + dmemory_of_block",
         "dmemory_of_block if dmemory is None else dmemory + dmemory_of_block * (len(self) - len(caches) <= 3)")],
     ["Transformer"]),
    ("stack: from the fourth block on other numbers dropped", STACK, [
        ("copy.deepcopy(rng)", "copy.deepcopy(rng) if i < 3 else rng")], ["Stack, recomputed"]),
    ("Transformer: places of the source begin again after 64", SEQ, [
        ("positions_of(S, S, None, source, self.encoder.before), rng)",
         "positions_of(S, S, None, source, self.encoder.before) % 64, rng)")], ["Transformer"]),
    ("embedding: a scale for small vocabularies", "layers/embedding.py", [
        ("    if scale != 1:", "    if scale != 1 and len(w) <= 256:")], ["embedding, scaled"]),
)
