"""The companion with the code of GPT-2."""

from .table import Both, Entry, Text, section

S004 = Text("S004", "GPT-2原理与代码实例讲解", "GPT-2 with code", (
    section("1", "背景介绍", "background"),
    section(
        "1.1", "问题由来", "where the question comes from",
        Entry(
            where="decoding.generate",
            run="python -m gpt2np.generate --seed 1 --max-new-tokens 60",
            errata="E004-01",
            text=Both(
                """GPT-2 的论文要说的，恰恰是不微调也能做到什么：训练好的模型本身就会写。""",
                """GPT-2's point was what it can do without fine-tuning: the model as it was trained writes text."""))),
    section(
        "1.2", "问题核心关键点", "the key points",
        Entry(
            where="decoding.generate KVCache",
            shown="test_with_the_past_it_writes_what_full_forwards_write",
            points=(8,),
            errata="E004-02",
            like="S001 3.3")),
    section("1.3", "问题研究意义", "what it is good for", Entry(like="S000 1.3")),
    section("2", "核心概念与联系", "concepts, and how they hang together"),
    section(
        "2.1", "核心概念概述", "the concepts",
        Entry(
            where="GPT2.loss",
            run="""
import numpy as np
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2
model = GPT2(GPT2Config(n_vocab=5, n_ctx=4, n_embd=12, n_head=3, n_layer=1), np.random.default_rng(0))
texts = [(a, b) for a in range(5) for b in range(5)]
print(f"{sum(np.exp(-2 * model.loss([[0, a]], [[a, b]])) for a, b in texts):.4f}")
""",
            prints="1.0000",
            here=Both(
                """语言模型给每段文本一个概率。词表有 5 个词元时，长度为 2 的文本有 25 段，它们的概率之和是 1。""",
                """A language model gives every text a probability. With 5 tokens there are 25 texts of length 2, and
                their probabilities sum to 1."""),
            points=(10,),
            errata="E004-03")),
    section("2.2", "核心概念间的关系", "how they hang together", Entry(like="S000 2.1")),
    section("3", "核心算法原理 & 具体操作步骤", "the algorithm, and its steps"),
    section(
        "3.1", "算法原理概述", "the principle",
        Entry(
            where="Trainer",
            run="python -m gpt2np.train FILE --init-from demo --out DIR",
            shown="test_fine_tuning_begins_with_what_was_learned",
            errata="E004-01",
            text=Both(
                """写文本不需要微调。""",
                """Writing text needs no fine-tuning."""))),
    section(
        "3.2", "算法步骤详解", "the steps in detail",
        Entry(
            where="lm_head_forward LMHead Classifier freeze_all_but",
            run="""
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2
model = GPT2(GPT2Config(50, 8, 12, 3, 1))
print([path for path, _ in model.named_parameters() if not path.startswith("h.")], model.lm_head.wte is model.wte)
""",
            prints="['wte', 'wpe', 'ln_f.g', 'ln_f.b'] True",
            shown="loss_is_head_and_cross_entropy",
            errata="E004-04",
            text=Both(
                """要写文本，顶层什么也不必添加：输出头已经在那里，就是嵌入矩阵。""",
                """To write text, no layer is added on top: the head is there, it is the embedding."""))),
    section(
        "3.3", "算法优缺点", "strengths and limits",
        Entry(
            where="LoRALinear freeze_all_but",
            run="""
from gpt2np.models.config import SIZES
C, L, r = SIZES["124M"].n_embd, SIZES["124M"].n_layer, 8
print(f"{L * r * (C + 3 * C) / SIZES['124M'].n_parameters:.2%}")
""",
            prints="0.24%",
            here=Both(
                """作个比较：对每块的 `c_attn` 加秩为 8 的 LoRA，要训练的只有这么多：
                `python -m gpt2np.train FILE --init-from demo --out DIR --adapt lora`。""",
                """To compare: LoRA of rank 8 on `c_attn` of each block trains so much:
                `python -m gpt2np.train FILE --init-from demo --out DIR --adapt lora`."""),
            shown="test_freezing_all_but_what_is_named merged_is_unmerged",
            errata="E004-05",
            text=Both(
                """微调全部权重并不“参数高效”；LoRA 这样的方法才是。""",
                """Fine-tuning all weights is not parameter-efficient; methods such as LoRA are."""))),
    section("3.4", "算法应用领域", "applications", Entry(like="S000 3.4")),
    section("4", "数学模型和公式 & 详细讲解", "the mathematics"),
    section(
        "4.1", "数学模型构建", "the model",
        Entry(
            where="GPT2",
            run="""
import numpy as np
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2
model = GPT2(GPT2Config(50, 8, 12, 3, 2), np.random.default_rng(0))
long, short = (model.forward([text])[0] for text in ([3, 1, 4, 1, 5], [3, 1, 4]))
print(np.allclose(long[:, :3], short, atol=1e-6))
""",
            prints="True",
            here=Both(
                """位置 $i$ 的输出只依赖它之前的信息：后面有没有词元都一样。""",
                """The output at $i$ depends on what came before: what follows it does not matter."""),
            shown="later_words_do_not_matter")),
    section(
        "4.2", "公式推导过程", "the formulas",
        Entry(
            where="binary_cross_entropy_forward cross_entropy_forward lm_head_loss_forward",
            run="""
import numpy as np
from gpt2np.layers.binary_cross_entropy import binary_cross_entropy_forward
from gpt2np.layers.cross_entropy import cross_entropy_forward
z, y = np.array([[0.7]]), np.array([[1]])                       # the text's two classes
one, two = binary_cross_entropy_forward(z, y)[0], cross_entropy_forward(np.hstack([0 * z, z]), y[0])[0]
print(np.allclose([one, two], -np.log(1 / (1 + np.exp(-z)))))
""",
            prints="True",
            shown="uniform_logits_cost_log_v two_logits_are_one",
            errata="E004-06 E004-07",
            text=Both(
                r"""公式本身是对的，但只适用于两类。语言模型的损失是下一个词元的 $-\log p$ 的平均，它对 logits 的梯度是
                $p - \text{onehot}$ 除以词元数；词表只有两个词元时，就是书中的公式。这里的梯度是手工推导、手写出来的，没
                有用自动微分。""",
                r"""The formulas are right, but for two classes. The loss of a language model is the mean of
                $-\log p$ of the next token, and its gradient by the logits $p - \text{onehot}$ over the number of
                tokens; with a vocabulary of two it is the text's formula. The gradient is worked out by hand here, not
                by automatic differentiation."""))),
    section("5", "项目实践：代码实例和详细解释说明", "the project"),
    section("5.1", "开发环境搭建", "setting up", Entry(like="S000 5.1")),
    section(
        "5.2", "源代码详细实现", "the source code",
        Entry(
            Both("`generate_text`", "`generate_text`"),
            where="generate_text Sampler",
            run="""
import gpt2np, numpy as np
from gpt2np.decoding import generate_text
model, tokenizer = gpt2np.load("demo")
texts = generate_text(model, tokenizer, "To be", num_return_sequences=2, max_length=8, rng=np.random.default_rng(0))
print(len(set(texts)), all(len(tokenizer.encode(text)) <= 8 for text in texts))
""",
            prints="2 True",
            shown="test_generate_text_has_the_chapters_names test_draws_have_their_probabilities",
            errata="E004-08 E004-09 E004-10",
            text=Both(
                """没有 `do_sample=True`，transformers 就是贪心解码：temperature、top_k 和 top_p 不起作用，所有文本都一
                样。`max_length` 把提示也算在内。这个函数被称为“数据处理函数”，没有给出填充的掩码，也没有任何地方调用
                它。""",
                """Without `do_sample=True` transformers is greedy: temperature, top-k and top-p do nothing, and all
                texts are the same. `max_length` counts the prompt, too. The function is announced as one that prepares
                the data, gives no mask for padding, and is called nowhere.""")),
        Entry(
            Both("训练和评估", "training and evaluation"),
            where="Batches evaluation.evaluate perplexity evaluation.measure",
            run="""
import numpy as np
from gpt2np.training.evaluation import bits_per_byte, perplexity
loss, n_tokens, n_bytes = 3.0, 1000, 4000
print(f"{perplexity(loss):.1f} {bits_per_byte(loss, n_tokens, n_bytes):.2f}")
""",
            prints="20.1 1.08",
            here=Both(
                """`python -m gpt2np.evaluate FILE --model demo` 给出损失、按词元、词和字节的困惑度，以及下一个词元的准
                确率，也就是这里的 accuracy；见 [[scoring.md]]。""",
                """`python -m gpt2np.evaluate FILE --model demo` gives the loss, perplexity by tokens, words and bytes,
                and how often the likeliest token came, which is what accuracy is here; see [[scoring.md]]."""),
            shown="""test_measures_are_those_of_one_token_after_the_other
            test_the_loss_is_that_of_one_token_after_the_other test_perplexity_and_bits_per_byte""",
            errata="E004-11 E004-12 E004-13 E004-14",
            text=Both(
                """transformers 里没有 `GPT2ForCausalLM`，应为 `GPT2LMHeadModel`。每个位置上得分最高的词元，被拿来
                与该位置的标签比较，而它预测的是下一个词元。衡量语言模型要用困惑度，不用一张 50257 行的报告。设备、数据
                集等都没有定义。""",
                """transformers has no `GPT2ForCausalLM`; it is `GPT2LMHeadModel`. The largest logit at a place is
                compared with the label at that place; it predicts the next one. A text is not measured by a report with
                a row for each of 50257 tokens, but by perplexity. Device, data sets and more are not defined."""))),
    section(
        "5.3", "代码解读与分析", "reading the code",
        Entry(
            errata="E004-19",
            text=Both(
                """这里说 `evaluate` 打印结果，其实它返回结果，由调用者打印。""",
                """It says of `evaluate` that it prints, where it returns."""),
            like="S004 5.2")),
    section(
        "5.4", "运行结果展示", "results",
        Entry(
            where="entity_report",
            run="""
from gpt2np.text.label_reports import entity_report
gold, found = [["B-PER", "I-PER", "O", "B-LOC"]], [["B-PER", "O", "O", "B-LOC"]]
print(entity_report(gold, found).micro)
""",
            prints="Scores(precision=0.5, recall=0.5, f1=0.5, support=2)",
            here=Both(
                """四个词元对了三个，两个实体却只对了一个：按实体计分，要首尾都对。""",
                """Three of four tokens are right, and one of two entities: it counts if both ends are."""),
            errata="E004-15 E004-16 E004-17 E004-18",
            text=Both(
                """CoNLL-2003 是命名实体识别的数据集，上面的代码给不出实体。micro 和 weighted 平均不是由各行算出的，而且
                按各行推算，给出的标签比词元还少。97.3% 计入了 O，而 O 占词元的大部分。""",
                """CoNLL-2003 is for named entities, and the code above cannot name them. Micro and weighted average are
                not those of the rows, and by the rows fewer labels were given than there are tokens. 97.3 % counts O,
                which is most of the tokens."""))),
    section("6", "实际应用场景", "applications"),
    section("6.1", "智能客服系统", "customer service", Entry(like="S000 6.1")),
    section("6.2", "金融舆情监测", "watching the news of finance", Entry(like="S000 6.2")),
    section("6.3", "个性化推荐系统", "recommendation", Entry(like="S000 6.3")),
    section("6.4", "未来应用展望", "what may come", Entry(like="S000 6.4")),
    section("7", "工具和资源推荐", "tools and reading"),
    section("7.1", "学习资源推荐", "reading", Entry(like="S000 7.1")),
    section("7.2", "开发工具推荐", "tools", Entry(like="S000 7.2")),
    section(
        "7.3", "相关论文推荐", "papers",
        Entry(points=(12,), errata="E004-20", like="S000 7.3")),
))
