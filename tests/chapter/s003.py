"""The companion on residuals, layer normalisation and GPT-2."""

from .table import Both, Entry, Text, section

S003 = Text("S003", "Transformer架构：residual连接、层归一化和GPT-2模型解析",
            "residuals, layer normalisation, GPT-2", (
    section("1", "背景介绍", "background"),
    section(
        "1.1", "问题由来", "where the question comes from",
        Entry(
            where="attention_forward",
            shown="one_query_at_a_time",
            errata="E003-01",
            text=Both(
                """循环网络无法并行；卷积可以在各位置上并行。""",
                """Convolutions do run in parallel over the positions; recurrent networks do not."""),
            like="S000 1.1")),
    section("2", "核心概念与联系", "concepts, and how they hang together"),
    section(
        "2.1", "核心概念概述", "the concepts",
        Entry(
            Both("残差连接", "the residual connection"),
            where="PreNormBlock",
            run="python -m gpt2np.gradcheck --layer PreNormBlock",
            shown="zero_projections_are_the_identity",
            points=(4,),
            errata="E003-02",
            text=Both(
                """它是 $y = x + f(x)$，两个子层各有一个，不只在注意力之后；传下去的也不是输入与输出之差。""",
                """It is $y = x + f(x)$ around both sub-layers, not around attention alone, and not a difference of
                input and output that is passed on.""")),
        Entry(
            Both("层归一化", "layer normalisation"),
            where="layernorm_forward LayerNorm",
            run="""
import numpy as np
from gpt2np.layers.layernorm import layernorm_forward
x = np.random.default_rng(0).standard_normal((3, 8))
y, _ = layernorm_forward(x, np.ones(8), np.zeros(8))
print(np.allclose(y.mean(axis=1), 0), np.allclose(y.var(axis=1), 1, atol=1e-3))
""",
            prints="True True",
            shown="normalised affine_invariant gradient_rows_sum_to_0"),
        Entry(
            Both("位置编码", "positions"),
            where="sinusoidal_positions GPT2.hidden",
            run="""
from gpt2np.layers.positional import sinusoidal_positions
print(sinusoidal_positions(3, 4).round(2))
""",
            prints="""
[[ 0.    1.    0.    1.  ]
 [ 0.84  0.54  0.01  1.  ]
 [ 0.91 -0.42  0.02  1.  ]]
""",
            shown="test_positional.test_formula",
            points=(1,))),
    section(
        "2.2", "核心概念原理和架构的 Mermaid 流程图", "the flow chart",
        Entry(
            where="PreNormBlock",
            run="python -m gpt2np.generate \"To be, or not to be\" --trace --max-new-tokens 1",
            shown="test_shapes.test_forward",
            points=(1, 4),
            errata="E003-03 E003-04",
            text=Both(
                """图中位置加了两次；归一化和残差连接本应各有两个，图中各只有一个；嵌入、块的重复、最后的归一化和 logits
                都没有。""",
                """Positions twice, one norm and one residual of two. Embedding, the blocks' repetition, last norm and
                logits are missing."""))),
    section("3", "核心算法原理 & 具体操作步骤", "the algorithm, and its steps"),
    section("3.1", "算法原理概述", "the principle", Entry(like="S003 2.1")),
    section(
        "3.2", "算法步骤详解", "the steps in detail",
        Entry(
            where="GPT2",
            errata="E003-05",
            text=Both(
                """三步之后得到的不是“最终输出”：前面还有嵌入，中间是 N 个块，后面还有最后的归一化和 logits。""",
                """What comes after three steps is not the last output: there is an embedding before, N blocks, and a
                last norm and logits behind."""),
            like="S003 2.2")),
    section(
        "3.3", "算法优缺点", "strengths and limits",
        Entry(
            where="window_start sinusoidal_positions",
            run="""
import numpy as np
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2
model = GPT2(GPT2Config(50, 8, 12, 3, 1), np.random.default_rng(0))
print([model.forward([[7] * T])[0].shape for T in (1, 5, 8)])
""",
            prints="[(1, 1, 50), (1, 5, 50), (1, 8, 50)]",
            points=(9,),
            errata="E003-06")),
    section(
        "3.4", "算法应用领域", "applications",
        Entry(points=(11,), errata="E003-07", like="S000 3.4")),
    section("4", "数学模型和公式 & 详细讲解 & 举例说明", "the mathematics"),
    section(
        "4.1", "数学模型构建", "the model",
        Entry(
            where="Embedding GPT2.hidden",
            run="""
import numpy as np
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2
model = GPT2(GPT2Config(50, 8, 12, 3, 1), np.random.default_rng(0))
x = model.wte.value[[7, 7]] + model.wpe.value[:2]
print(np.array_equal(x[0], x[1]))
""",
            prints="False",
            errata="E003-08",
            text=Both(
                """位置编码属于位置，不属于站在那里的词元：同一个词元在两个位置上，得到两个不同的向量。""",
                """The encoding belongs to the position, not to the token that stands there: the same token at two
                places gets two vectors."""))),
    section(
        "4.2", "公式推导过程", "the formulas",
        Entry(
            Both("自注意力机制", "self-attention"),
            where="attention_forward",
            run="python -m gpt2np.gradcheck --layer \"attention, both masks\"",
            shown="weights_sum_to_1 causal",
            errata="E003-09",
            text=Both(
                """Q、K、V 是对的。$A$ 只是得分；还缺少 softmax、与 V 的乘积、掩码、多头和最后的投影。""",
                """Q, K and V are right. $A$ is the scores; the softmax, the product with V, mask, heads and last
                projection are missing.""")),
        Entry(
            Both("前馈神经网络", "the feed-forward network"),
            where="MLP gelu_forward",
            run="""
import numpy as np
W_1, W_2 = np.random.default_rng(0).standard_normal((2, 4, 4))
b_1, b_2, x = np.random.default_rng(1).standard_normal((3, 4))
two_layers = W_2 @ (W_1 @ np.maximum(x, 0) + b_1) + b_2
print(np.allclose(two_layers, (W_2 @ W_1) @ np.maximum(x, 0) + (W_2 @ b_1 + b_2)))
""",
            prints="True",
            errata="E003-10",
            text=Both(
                r"""激活放在了两个线性层之前，这样它们就合并成一个线性层。激活应当在两者之
                间：$W_2\ G(W_1 x + b_1) + b_2$。""",
                r"""The activation comes before both linear layers, which are one linear layer then. It belongs between
                them: $W_2\ G(W_1 x + b_1) + b_2$.""")),
        Entry(
            Both("层归一化", "layer normalisation"),
            where="layernorm_forward layernorm_backward",
            run="python -m gpt2np.gradcheck --layer layernorm",
            shown="normalised affine_invariant gradient_rows_sum_to_0",
            errata="E003-11",
            text=Both(
                r"""公式是对的。训练学到的只有 $\gamma$ 和 $\beta$；而 $\mu$ 和 $\sigma^2$ 由每个词元自己的向量算出，方
                差是除以 $C$ 的。标题里有残差连接，公式里却没有。""",
                r"""The formula is right. Only $\gamma$ and $\beta$ are learned; $\mu$ and $\sigma^2$ are computed of
                each token's vector, with division by $C$. A residual is in the title, and in no formula."""))),
    section(
        "4.3", "案例分析与讲解", "an example",
        Entry(
            where="GPT2",
            run="""
import numpy as np
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2
model = GPT2(GPT2Config(50, 8, 12, 3, 2), np.random.default_rng(0))
a, b = (model.forward([[3, 1, 4, last]])[0][0] for last in (1, 5))
print((a != b).any(axis=1))
""",
            prints="[False False False  True]",
            shown="later_words_do_not_matter",
            points=(2,),
            errata="E003-14",
            text=Both(
                """一个词元看到的是它之前的词元，不是任意位置的。""",
                """A token attends to those before it, not to any."""))),
    section("5", "项目实践：代码实例和详细解释说明", "the project"),
    section("5.1", "开发环境搭建", "setting up", Entry(like="S000 5.1")),
    section(
        "5.2", "源代码详细实现", "the source code",
        Entry(
            where="loading.load",
            run="""
import gpt2np
model, tokenizer = gpt2np.load("demo")          # "124M" once it is downloaded
logits, _ = model.forward([tokenizer.encode("To be, or not to")], keep_cache=False)
print(logits.shape, repr(tokenizer.decode([logits[0, -1].argmax()])))
""",
            prints="(1, 6, 4096) ' be'",
            here=Both(
                """得分最高的是下一个词元的预测。GPT-2 的公开权重要先下载，见 [[commands.md]]。""",
                """The highest score is what comes next. OpenAI's weights have to be fetched first, see
                [[commands.md]]."""),
            shown="test_a_saved_model_is_loaded_as_it_was",
            errata="E003-12",
            text=Both(
                """标题说“实现”，代码却只是加载一个模型。返回的是一个没有 `.numpy()` 的对象；其中的 logits 不是词元编
                号。编号 1、2、3 是字符 `"`、`#` 和 `$`。""",
                """It loads a model where the title promises one written out. The result is an object without
                `.numpy()`; in it are logits, not ids. The ids 1, 2, 3 are the characters `"`, `#` and `$`."""))),
    section("5.3", "代码解读与分析", "reading the code", Entry(like="S003 5.2")),
    section(
        "5.4", "运行结果展示", "results",
        Entry(
            where="softmax_forward",
            run="""
import numpy as np
from gpt2np.layers.softmax import softmax_forward
rows = np.array([[0.9922, 0.0343, 0.0038], [0.9917, 0.0361, 0.0062], [0.9909, 0.0362, 0.0091]])
print(rows.sum(axis=1), softmax_forward(np.zeros((3, 50257)))[0].sum(axis=1).round(6))
""",
            prints="[1.0303 1.034  1.0362] [1. 1. 1.]",
            shown="probabilities",
            errata="E003-13",
            text=Both(
                """三行各三个“概率”，每行加起来是 1.030、1.034 和 1.036。应当是 3 × 50257 个，每行之和为 1；而代码里并没
                有 softmax。""",
                """Three rows of three "probabilities" that sum to 1.030, 1.034 and 1.036. Right would be 3 × 50257 that
                sum to 1, and there is no softmax in the code."""))),
    section("6", "实际应用场景", "applications"),
    section("6.1", "机器翻译", "machine translation", Entry(points=(11,), like="S000 3.4")),
    section("6.2", "文本生成", "writing texts", Entry(like="S000 3.4")),
    section(
        "6.3", "问答系统", "answering questions",
        Entry(
            missing=Both(
                """BERT 的问答：给出答案起止位置的输出头；BERT 本身已经有了。""",
                """BERT's answers: a head for the first and last place of one; BERT itself is here."""))),
    section("7", "工具和资源推荐", "tools and reading"),
    section(
        "7.1", "学习资源推荐", "reading",
        Entry(
            errata="E003-16",
            text=Both(
                """《Natural Language Processing with Transformers》的作者来自 Hugging Face，不是 TensorFlow
                官方；fairseq 是一个库，不是书。""",
                """"Natural Language Processing with Transformers" is by people of Hugging Face, not of TensorFlow.
                Fairseq is a library, "The Annotated Transformer" a web page of Harvard's with the code."""),
            like="S000 7.1")),
    section("7.2", "开发工具推荐", "tools", Entry(like="S000 7.2")),
    section(
        "7.3", "相关论文推荐", "papers",
        Entry(
            points=(12,),
            errata="E003-16 E003-17",
            text=Both(
                """“The Annotated Transformer”是哈佛大学一个带代码的网页，不是书。GPT-2 的论文是“Language Models are
                Unsupervised Multitask Learners”。""",
                """GPT-2's paper is "Language Models are Unsupervised Multitask Learners"."""),
            like="S000 7.3")),
    section("8", "总结：未来发展趋势与挑战", "summary and outlook"),
    section("8.1", "总结", "summary", Entry(like="S000 8.1")),
    section("8.2", "未来发展趋势", "where it goes", Entry(like="S000 8.2")),
    section("8.3", "面临的挑战", "difficulties", Entry(like="S000 8.3")),
    section("8.4", "未来突破", "what may come", Entry(like="S000 8.2")),
    section("9", "附录：常见问题与解答", "questions"),
    section(
        "9 Q1", "Transformer架构在训练过程中如何避免梯度消失问题？", "How do gradients not fade?",
        Entry(like="S002 2.1")),
    section(
        "9 Q2", "Transformer架构在处理长序列时存在哪些问题？", "What is hard about long sequences?",
        Entry(
            where="attention_forward",
            run="""
T, C, L, n = 1024, 768, 12, 128                                 # n queries at a time, over the keys that they see
whole, seen = T * T, sum((t + n) * n for t in range(0, T, n))
print(f"{seen / whole:.2f}")
""",
            prints="0.56",
            here=Both(
                """因果注意力按 128 个查询一块来算，只算它们看得到的键：略多于一半。""",
                """Causal attention takes 128 queries at a time, over the keys that they see: just over half."""),
            points=(9,),
            errata="E003-15",
            text=Both(
                """绝对位置编码就是 GPT-2 现有的，不是改进。掩码本身不减少计算量，除非代码跳过被掩掉的部
                分，[[attention_forward]] 正是这样，省去将近一半。""",
                """Absolute positions are what GPT-2 has, no improvement on them. A mask saves work only where the code
                leaves out what is masked, as [[attention_forward]] does for nearly half."""),
            missing=Both(
                """相对位置编码：GPT-2、BERT 和最初的 Transformer 都不用它，这些模型的权重也用不上。
                全局注意力（少数位置看全部，其余只看附近）：它属于专读长文本的模型，这里的模型都没有用它。""",
                """relative positions: GPT-2, BERT and the original Transformer have none, and their weights could not
                use them. Global attention (a few positions see all, the others what is near) is of models for long
                texts, and of none that is here."""))),
    section(
        "9 Q3", "Transformer架构的训练效率如何提升？", "How to train faster?",
        Entry(
            like="S001 9 Q4",
            text=Both(
                """“计算图”在这里是写出来的：每个反向传播都是手写的，`--recompute` 用时间换内存。""",
                """The graph of the computation is written out here: every backward pass is by hand, and `--recompute`
                trades time for memory."""))),
    section(
        "9 Q4", "Transformer架构在实际应用中如何优化推理速度？", "How to write faster?",
        Entry(
            where="speculate Together prefill narrow.quantize trimming.drop_blocks take_out_heads",
            run="python -m gpt2np.generate --seed 1 --max-new-tokens 60",
            here=Both(
                """本项目有的办法：键值缓存、几段文本一起生成、投机解码（[[speculate]]）和长提示的多线程读入
                （[[prefill.prefill]]）。作为服务（`python -m gpt2np.serve --model demo`），各人的请求在两个词元之间加入
                和离开同一个批次（[[Together]]），见 [docs/serving.zh.md](serving.zh.md)。
                int8 的矩阵省内存，不省时间；去掉几层或几个注意力头（命令 trim）则两样都省，但预测变差：见
                [docs/smaller.zh.md](smaller.zh.md)。""",
                """What is here: the cache of keys and values, several texts at once, speculation ([[speculate]]), and a
                long prompt on all cores ([[prefill.prefill]]). As a service (`python -m gpt2np.serve --model demo`),
                everybody's requests join one batch and leave it between two tokens ([[Together]]): see
                [docs/serving.md](serving.md). Matrices in int8 save memory, not time; fewer
                blocks or heads (the command trim) save both, and predict less well: see
                [docs/smaller.md](smaller.md)."""),
            shown="next_logits_are_the_full_forward test_a_text_in_company_is_what_it_is_alone",
            missing=Both(
                """分布式推理。""",
                """one model on several machines."""))),
    section(
        "9 Q5", "Transformer架构在实际应用中如何提升模型泛化能力？", "How to generalise better?",
        Entry(
            where="augmenting.with_synonyms augmenting.with_deletions adversarial.adversarially Classifier",
            run="python -m gpt2np.finetune --task classify --out DIR --replace-words 0.3 --adversarial fgm",
            here=Both(
                """三种办法这里都有：数据增强和对抗训练是选项；两个任务轮流训练同一个主体，是
                [docs/robustness.zh.md](robustness.zh.md) 里的一段代码。那一页还量出它们在没见过、又被改动的文本上各有
                多少用处。与过拟合有关的其他选项见 [[S001 9 Q2]]。""",
                """All three are here: augmentation and adversarial training are options; two tasks that train one body
                in turn are a listing in [docs/robustness.md](robustness.md), which has also measured what each is worth
                on texts that were never seen, and are changed. For what else is there against overfitting see
                [[S001 9 Q2]]."""),
            shown="test_both_losses_are_learned_with_what_was_added_held_still "
                  "test_batches_follow_from_seed_and_step_and_labels_stay")),
))
