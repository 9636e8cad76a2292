"""What several of the texts get wrong, told once: the entries name these by number."""

from .table import Both, Entry

POINTS = (
    Entry(
        Both("没有位置信息", "No positions, or in the wrong place"),
        where="GPT2.hidden sinusoidal_positions",
        errata="E000-06",
        text=Both(
            """S000 完全没有提到位置；S001 4.2 在注意力之后才加位置；S003 2.2 在 MLP 之前又加一次。注意力本身只
            看到一个集合：把词元打乱，输出也跟着打乱，仅此而已。GPT-2 在第一个块之前，为每个位置加上一个学到的向
            量，只加这一次。""",
            """S000 has no positions at all; S001 4.2 adds them after attention, S003 2.2 again before the MLP.
            Attention by itself sees a set: shuffle the tokens, and the outputs are shuffled. GPT-2 adds a learned
            vector for each position once, before the first block.""")),
    Entry(
        Both("名为 GPT-2，却没有因果掩码", "No causal mask in what is called GPT-2"),
        where="attention_forward",
        shown="causal later_words_do_not_matter",
        errata="E000-12",
        text=Both(
            """S000、S001 和 S003 的公式与代码都是如此。一个词元只能看到自己和前面的词元；没有掩码，它就看到了答案。""",
            """So it is in the formulas and the code of S000, S001 and S003. A token looks at itself and at what comes
            before; without the mask it would see the answer.""")),
    Entry(
        Both("把序列切开，每层分一段，每层各有嵌入层", "A piece of the sequence, and an embedding, for every layer"),
        where="GPT2",
        shown="test_shapes.test_forward",
        errata="E000-03 E000-04",
        text=Both(
            """S000 3.2 和 4.1 这样写。其实各层沿深度堆叠，每一层都看到整个序列；把词元变成向量的嵌入只有一个，在最底
            下。见 [[shapes.md]]。""",
            """So say S000 3.2 and 4.1. Layers are stacked in depth. Each sees the whole sequence, as vectors that one
            embedding at the bottom made. See [[shapes.md]].""")),
    Entry(
        Both("缺少残差连接或层归一化，或者加错了东西", "No residual or no norm, or the wrong sum"),
        where="PreNormBlock",
        shown="zero_projections_are_the_identity",
        errata="E000-07",
        text=Both(
            r"""S000 3.2 和 4.1 的步骤里两样都没有；S003 2.1 的残差连接只有一个；在 S000 4.2 和 S001 4.2 里，残差加上的
            不是子层的输入。正确的写法是先 $x + \text{attention}(\text{norm}(x))$，再 $x + \text{MLP}(\text{norm}(x))$：
            每个块里残差连接和归一化各有两个；所有的块之后，还有最后一个归一化。""",
            r"""The lists of S000 3.2 and 4.1 have neither, S003 2.1 has one of two, and in S000 4.2 and S001 4.2 the
            residual adds something else than the sub-layer's input. Right is $x + \text{attention}(\text{norm}(x))$,
            then $x + \text{MLP}(\text{norm}(x))$: two of each in every block, and a last norm at the top.""")),
    Entry(
        Both("说 GPT 由编码器和解码器组成", "The GPTs have an encoder and a decoder"),
        where="PreNormBlock DecoderBlock",
        shown="test_names_are_those_of_the_checkpoint",
        errata="E002-04",
        text=Both(
            """S002 2.1、2.2.2、3.1 和 4.1 这样写。GPT 只有解码器，没有交叉注意力；两者都有的是最初的 Transformer。""",
            """So say S002 2.1, 2.2.2, 3.1 and 4.1. They are decoders alone, without cross-attention. The original
            Transformer has both.""")),
    Entry(
        Both("GELU 与 ReLU 颠倒了", "GELU and ReLU have changed places"),
        where="gelu_forward relu_forward",
        shown="test_the_original_transformer_has_relu",
        errata="E000-16 E001-14",
        text=Both(
            """S000 4.2 说最初的 Transformer 用 GELU，S000 4.4、5.2 和 S001 4.2 说 GPT-2 用 ReLU，恰好相反。两者最多相
            差 0.17；GPT-2 的 GELU 是 tanh 近似形式，与精确形式最多相差 4.8e-4。""",
            """GELU is in the original Transformer in S000 4.2, ReLU in GPT-2 in S000 4.4, 5.2 and S001 4.2. It is the
            other way round. The two differ by up to 0.17; GPT-2's GELU is the tanh form, which differs from the exact
            one by up to 4.8e-4.""")),
    Entry(
        Both("训练需要大量标注数据", "Training needs a lot of labelled data"),
        where="Batches cross_entropy_forward",
        shown="test_batches.test_a_batch_follows_from_seed_and_step",
        errata="E000-08 E001-04",
        text=Both(
            """S000 3.3 和 8.3 这样写；S001 3.1.1 则说 GPT-2 的预训练用掩码语言模型和下一句预测。其实目标就是词元本身，
            往后错开一个位置；掩码语言模型和下一句预测是 BERT 的。""",
            """So say S000 3.3 and 8.3; by S001 3.1.1, GPT-2 was pre-trained with masked words and next sentences. The
            targets are the tokens themselves, one place on. Masked words and next sentences are BERT's.""")),
    Entry(
        Both("生成可以并行", "Generation runs in parallel"),
        where="decoding.generate KVCache",
        shown="next_logits_are_the_full_forward test_with_the_past_it_writes_what_full_forwards_write",
        errata="E001-06 E004-02",
        text=Both(
            """S001 3.3 和 S004 1.2 这样写。训练可以并行，读入提示也可以：所有位置一次算完。写却不行：每个词元都要等前一
            个。前面的词元算过的键和值会保留下来，不必重算。""",
            """So say S001 3.3 and S004 1.2. Training does, and reading the prompt: all positions at once. Writing does
            not: each token needs the one before. What was computed for earlier tokens is kept.""")),
    Entry(
        Both("任意长度的序列", "Sequences of any length"),
        where="window_start",
        shown="tokens_refused test_window_start",
        errata="E000-02 E003-06",
        text=Both(
            """S000 1.2、2.1 和 8.1 说自注意力能处理任意长度的序列；S003 3.3 和 9 又说位置编码处理不了变化的长度。其实长
            度可以变化，只是不能超过 `n_ctx`，对 GPT-2 就是 1024：学到的位置只有这么多。更长的提示会被拒绝；文本写得
            比窗口还长时，模型只看最近的一段。""",
            """Self-attention takes sequences of any length in S000 1.2, 2.1 and 8.1; in S003 3.3 and 9, positions
            cannot deal with lengths that change. Any length up to `n_ctx`, 1024 for GPT-2: there are no more learned
            positions. A longer prompt is refused; a text that grows longer is seen through a window.""")),
    Entry(
        Both("自注意力减少计算量", "Self-attention makes less work"),
        where="attention_forward",
        shown="test_how_much_work",
        errata="E002-02 E004-03",
        text=Both(
            """S002 1.2、2.2.3、3.3 和 S004 2.1 这样写。它反而增加计算量：在循环网络也有的 $T C^2$ 之外，还有 $T^2 C$。
            它节省的是等待：任何位置都不必等前一个位置算完。见 [[shapes.md]]。""",
            """So say S002 1.2, 2.2.3, 3.3 and S004 2.1. It makes more: $T^2 C$, on top of the $T C^2$ that a recurrent
            network has too. What it saves is waiting: no position waits for the one before. See [[shapes.md]].""")),
    Entry(
        Both("GPT-2 是最强的模型之一，或最好的翻译模型", "GPT-2 is among the strongest models, or the best translator"),
        errata="E000-01 E000-20 E003-07",
        text=Both(
            """前者见 S000 1.2、2.1、3.1 和 4.1，后者见 S003 3.4 和 6.1。GPT-2 是 2019 年的模型。它没有为翻译训练过：按
            它自己的论文，只用提示来问，英译法得到 5 BLEU，法译英得到 11.5。""",
            """GPT-2 is among the strongest models (S000 1.2, 2.1, 3.1, 4.1) or the best translator (S003 3.4, 6.1). It
            is of 2019. It was never trained to translate: asked by a prompt, it reached 5 BLEU from English to French
            and 11.5 back, in its own paper.""")),
    Entry(
        Both("适配器不增加参数；AdaLoRA 的全称", "Adapters without more parameters, and the name of AdaLoRA"),
        where="Linear",
        errata="E000-37 E000-38 E003-17 E004-20",
        text=Both(
            """S000、S003 和 S004 的 7.3 都是如此。适配器会增加参数，约为模型的百分之几。那篇论文的题目是“AdaLoRA:
            Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning”，不是“Adaptive Low-Rank Adaptation”。会议
            NIPS（S004 7.3）从 2018 年起叫 NeurIPS。""",
            """So it is in 7.3 of S000, S003 and S004. Adapters add parameters, a few percent of the model. The paper is
            "AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning", not "Adaptive Low-Rank
            Adaptation". The conference NIPS (S004 7.3) is called NeurIPS since 2018.""")),
)
