"""The companion that takes GPT-2 apart."""

from .table import Both, Entry, Text, section

S001 = Text("S001", "Transformer架构：GPT-2模型剖析", "GPT-2 taken apart", (
    section("1", "背景介绍", "background"),
    section(
        "1.1", "问题由来", "where the question comes from",
        Entry(
            where="attention_forward",
            run="""
import numpy as np
from gpt2np.layers.attention import attention_forward
q, k = np.zeros((2, 1, 1, 4, 4))
weights, _ = attention_forward(q, k, np.eye(4)[None, None], causal=True)
print(weights[0, 0].round(2))
""",
            prints="""
[[1.   0.   0.   0.  ]
 [0.5  0.5  0.   0.  ]
 [0.33 0.33 0.33 0.  ]
 [0.25 0.25 0.25 0.25]]
""",
            here=Both(
                """值取单位矩阵，输出就是注意力权重：每个位置只看自己和前面。""",
                """With the identity for values, the output is the weights: each position sees itself and those
                before."""),
            shown="causal",
            points=(2,),
            errata="E001-01",
            text=Both(
                """自注意力让模型“不再局限于因果连接”：GPT-2 恰恰局限于此，它是因果的。""",
                """Self-attention is to free the model from causal connections: but GPT-2 is causal, after all."""))),
    section("2", "核心概念与联系", "concepts, and how they hang together"),
    section(
        "2.1", "核心概念概述", "the concepts",
        Entry(
            where="Tokenizer",
            run="python -m gpt2np.text \"自注意力\"",
            here=Both(
                """四个字，十二个字节，九个词元。为什么中文这么“贵”，见 [[chinese.md]]。""",
                """Four characters, twelve bytes, nine tokens. Why Chinese is dear: [[chinese.md]]."""),
            shown="test_bpe.test_encode_equals_the_definition",
            errata="E001-02 E001-03",
            text=Both(
                """自回归的英文是 autoregressive，不是 self-regressive；它是模型的性质，不是一种训练方式：一段文本的概
                率，等于逐个词元的条件概率之积，每个词元以它前面的全部词元为条件。GPT-2 预测的既不是词，也不是字符，而是
                字节级的词元：“ pen”（连同空格）是一个词元，“自注意力”四个字是九个。""",
                """The word is autoregressive, and it is a property of the model: the probability of a text is the
                product of the probabilities of each token after those before it. It predicts neither words nor
                characters but byte-level tokens: " pen" is one, the four characters of 自注意力 are nine."""))),
    section("3", "核心算法原理 & 具体操作步骤", "the algorithm, and its steps"),
    section("3.1", "算法原理概述", "the principle"),
    section(
        "3.1.1", "预训练", "pre-training",
        Entry(
            where="Trainer AdamW MaskedWords documents.hide",
            run="python -m gpt2np.train FILE --out DIR",
            here=Both(
                """FILE 是任意文本文件；不给 FILE，就用本项目自己的源代码训练几分钟。训练的目标就是最大似然：下一个词元
                的交叉熵。掩码语言模型和下一句预测是 BERT 的，加上 `--task masked` 就训练 BERT：每行一句，文档之间空一
                行。""",
                """FILE is any text; without one, the package's own source is trained on for some minutes. Maximum
                likelihood is the cross-entropy of the next token. Masked words and next sentences are BERT's, and
                `--task masked` trains one: a sentence a line, an empty line between documents."""),
            shown="test_ten_steps_are_those_of_pytorch test_it_learns_and_says_so test_shares_within_chi_square "
                  "test_it_learns_what_there_is_to_learn",
            points=(7,),
            errata="E001-04",
            text=Both(
                """语言建模本身就是自监督任务，旁边没有第二个步骤。""",
                """Language modelling is the self-supervised task; there is no second step beside it."""))),
    section(
        "3.1.2", "微调", "fine-tuning",
        Entry(
            where="Classifier TokenClassifier binary_cross_entropy_forward mean_squared_error_forward put_head_on "
                  "language_modelling.load_to_train AdamW",
            run="""
import gpt2np
import numpy as np
from gpt2np.models.heads import SQUARED, Classifier
model = Classifier(gpt2np.load("demo")[0], ["stars"], objective=SQUARED)
tokens, stars = np.array([[3, 1, 4], [1, 5, 9]]), np.array([[4.0], [2.0]])
print(model.forward(tokens)[0].shape, model.loss(tokens, None, None, stars))
""",
            prints="(2, 1) 10.0",
            here=Both(
                """在已有的权重上继续训练，优化器是 AdamW：或者仍是纯文本，`--init-from demo`；或者换上任务的输出头：
                几类之中的一类用 softmax 交叉熵，几个可以同时成立的标签用二元交叉熵，数值用均方误差，还有每个词元一个
                标签，以及答案的起止位置。BERT 和 GPT-2 用同样的输出头；冻结的主干只花推理的时间。""",
                """Training goes on from weights that are there, with AdamW: on plain text, `--init-from demo`; or with
                a head for a task: one class of several by softmax and cross-entropy, labels that may hold together by
                binary cross-entropy, numbers by the mean squared error, a label for each token, and where an answer
                begins and ends. BERT and GPT-2 take the same heads; a frozen body costs its inference alone."""),
            shown="test_fine_tuning_begins_with_what_was_learned test_logits_loss_and_every_gradient_of_each_head "
                  "padded_rows_are_as_alone a_frozen_body_costs_nothing")),
    section("3.2", "算法步骤详解", "the steps in detail"),
    section(
        "3.2.1", "预训练步骤", "the steps of pre-training",
        Entry(
            where="read_texts evaluation.evaluate",
            run="python -m gpt2np.train train.txt --val val.txt --out DIR",
            here=Both(
                """第 4 步：每次评估后，验证损失最低的模型存入 `DIR/best`。""",
                """Step 4: after each evaluation, the model with the lowest validation loss is `DIR/best`."""),
            shown="test_it_learns_and_says_so test_the_loss_is_that_of_one_token_after_the_other",
            errata="E001-05",
            text=Both(
                """GPT-2 的语料是 WebText，其中的维基百科是有意去掉的。BERT 也不是按预测下一个词元来训练的。""",
                """GPT-2's corpus is WebText, from which Wikipedia was taken out. BERT is not trained as a language
                model of the next token."""))),
    section(
        "3.2.2", "微调步骤", "the steps of fine-tuning",
        Entry(
            where="evaluation.evaluate perplexity",
            run="python -m gpt2np.evaluate --model DIR/best FILE",
            here=Both(
                """第 4 步：在测试文本上的损失、困惑度和每字节比特数。""",
                """Step 4: loss, perplexity and bits per byte on a text to test by."""),
            shown="test_perplexity_and_bits_per_byte",
            missing=Both(
                """下一个词元的准确率。""",
                """the accuracy of the next token."""))),
    section(
        "3.3", "算法优缺点", "strengths and limits",
        Entry(
            where="KVCache DataParallel",
            run="""
import numpy as np
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2
model, text = GPT2(GPT2Config(50, 8, 12, 3, 2), np.random.default_rng(0)), [[3, 1, 4, 1, 5]]
past = model.new_past(1, 8)
print(np.allclose([model.next_logits([[t]], past) for t in text[0]][-1], model.forward(text)[0][:, -1:], atol=1e-6))
""",
            prints="True",
            here=Both(
                """逐个词元运行五次，每次都用上保留下来的键和值，与一次运行五个词元，结果相同。""",
                """Five runs of one token, each with the keys and values of those before, give what one run of five
                gives."""),
            shown="a_past_is_the_full_forward",
            points=(8,),
            errata="E001-06")),
    section(
        "3.4", "算法应用领域", "applications",
        Entry(
            where="Transformer CrossAttention",
            shown="padded_memory_does_not_matter",
            errata="E001-07 E001-08",
            text=Both(
                """翻译靠的是交叉注意力（或者提示），不是“多模态注意力”。GPT-2 只认识文本：没有语音，也没有图像。""",
                """Translation is by cross-attention (or a prompt), not by "multimodal" attention. GPT-2 knows text
                alone: no speech, no images."""),
            missing=Both(
                """分类、匹配和翻译：见 [[S000 3.4]] 和 [[S000 6.2]]。语音和图像不在本项目范围之内。""",
                """classes, matching and translation: see [[S000 3.4]] and [[S000 6.2]]. Speech and images are outside
                of this package."""))),
    section("4", "数学模型和公式 & 详细讲解 & 举例说明", "the mathematics"),
    section(
        "4.1", "数学模型构建", "the model",
        Entry(
            where="attention_forward",
            run="""
import numpy as np
from gpt2np.layers.attention import attention_forward
q, k, v = np.random.default_rng(0).standard_normal((3, 5, 4))
e = np.exp(q @ k.T / 2)                                         # sqrt(4) = 2
y, _ = attention_forward(q[None, None], k[None, None], v[None, None])
print(np.allclose(e / e.sum(axis=1, keepdims=True) @ v, y))
""",
            prints="True",
            shown="later_words_do_not_matter",
            errata="E001-09",
            text=Both(
                r"""注意力的公式是对的，上面用两行 NumPy 验证。但注意力只是模型的一部分，不是模型；而且序列只有一个，没
                有 $x$ 和 $y$ 之分：GPT-2 给出的是条件概率 $p(x_i \mid x_1, \ldots, x_{i-1})$。""",
                r"""The formula of attention is right. But attention is a part of the model, not the model; and there is
                one sequence, not $x$ and $y$: GPT-2 gives $p(x_i)$ after $x_1 \ldots x_{i-1}$."""))),
    section(
        "4.2", "公式推导过程", "the formulas",
        Entry(
            Both("三个词元的窗口", "a window of three"),
            where="attention_forward",
            shown="later_tokens_do_not_matter",
            errata="E001-10",
            run="""
import numpy as np
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2
model = GPT2(GPT2Config(50, 1024, 12, 3, 1), np.random.default_rng(0))
a, b = (model.forward([[first] + [7] * 1000])[0][0, -1] for first in (3, 4))
print(np.any(a != b))
""",
            prints="True",
            text=Both(
                """书中 $y_i$ 依赖于它自己，以及前面两个词元。其实它依赖于前面所有的词元，最多 1024 个，而不依赖它自己。
                上面改动的是 1000 个词元之前的那一个。""",
                """$y_i$ depends on itself there, and on two tokens before. It depends on all tokens before, up to 1024,
                and not on itself. Above, the token that changes is 1000 places back.""")),
        Entry(
            Both("多头注意力机制（Multi-Head Attention）", "heads"),
            where="SelfAttention merge_heads",
            run="""
import numpy as np
from gpt2np.layers.attention import merge_heads, split_heads
x = np.arange(24).reshape(1, 2, 12)
print(split_heads(x, 3).shape, np.array_equal(merge_heads(split_heads(x, 3)), x))
""",
            prints="(1, 3, 2, 4) True",
            errata="E001-12",
            text=Both(
                """各头拼接之后乘以 $W^O$，这是对的；缺少的是每个头自己的投影。""",
                """Heads joined and then multiplied by $W^O$ is right; the projections of each head are missing.""")),
        Entry(
            Both("位置编码、前向传播", "positions, feed-forward"),
            where="MLP gelu_forward PreNormBlock",
            run="python -m gpt2np.gradcheck --layer MLP",
            shown="zero_projections_are_the_identity",
            points=(1, 4, 6),
            errata="E001-11 E001-13 E001-14",
            text=Both(
                """残差加上的是注意力的输出，而它应当加上子层的输入。“前向传播”（forward propagation）是另一回事；这一层
                叫前馈网络（feed-forward network），GPT-2 的前馈网络用 GELU。""",
                """The residual adds the output of attention; it has to add the input of the sub-layer. 前向传播 is
                forward propagation; the layer is a feed-forward network, 前馈网络, and GPT-2's has GELU."""))),
    section(
        "4.3", "案例分析与讲解", "an example",
        Entry(
            where="Batches",
            run="""
from gpt2np.text.bpe import Tokenizer
tokenizer = Tokenizer.gpt2()
ids = tokenizer.encode("I have a pen.")
for token, target in zip(ids[:-1], ids[1:]):
    print(repr(tokenizer.decode([token])), "->", repr(tokenizer.decode([target])))
""",
            prints="""
'I' -> ' have'
' have' -> ' a'
' a' -> ' pen'
' pen' -> '.'
""",
            errata="E001-15",
            text=Both(
                """输出里丢了“a”和句号。“I”、“ have”、“ a”、“ pen”之后的目标依次是“ have”、“ a”、“ pen”、
                “.”；$x$ 与 $y$ 之间没有注意力；最后一步是 softmax。""",
                """Of the output, "a" and the full stop are lost. After "I", " have", " a", " pen" the targets are "
                have", " a", " pen", "."; there is no attention between $x$ and $y$, and a softmax comes last."""))),
    section("5", "项目实践：代码实例和详细解释说明", "the project"),
    section(
        "5.1", "开发环境搭建", "setting up",
        Entry(
            run="make test",
            errata="E001-16",
            text=Both(
                """Keras 2.5 从未发布过，PyPI 上只有候选版，所以这条安装命令会失败。""",
                """Keras 2.5 was never released; PyPI has a release candidate only, so this installation fails."""))),
    section(
        "5.2", "源代码详细实现", "the source code",
        Entry(
            Both("模型", "the model"),
            where="GPT2 SelfAttention",
            run="python -m gpt2np.gradcheck --layer CrossAttention --layer SelfAttention",
            shown="test_golden.test_logits_loss_and_gradients",
            errata="E001-17 E001-18 E001-19 E001-20 E001-21 E001-22 E001-23 E001-24 E001-25",
            text=Both(
                """标题说是 PyTorch 代码，内容却是 TensorFlow。它无法解析：缺一个逗号和一个括号。此外，`encoder_layer`
                不认识 `num_heads`，又用它并不接受的参数调用自己，即使接受，也会无限递归；`self.layers` 不能赋值；Keras
                没有 Split、Transpose、Mean、Sequential 这些层；`multi_head_attention` 从不使用查询，把键和值逐元素相
                乘，对结果做 softmax，再把序列平均掉；头的宽度取自错误的尺寸；投影应当是三份，这里只有两份；输出到词表的
                层出现在每个块里；激活函数跟在残差相加之后，归一化却没有；嵌入和 `feedforward` 定义了却没有人用，也
                没有 `call`。""",
                """TensorFlow is announced as PyTorch. It does not parse: a comma and a bracket are missing. Beyond
                that, `encoder_layer` does not know `num_heads`, calls itself with an argument that it does not take,
                and with one would call itself without end; `self.layers` cannot be set; Keras has no layers Split,
                Transpose, Mean or Sequential; `multi_head_attention` never uses the queries, multiplies keys and values
                element by element, takes a softmax of that and averages the sequence away; the width of a head is taken
                from the wrong sizes; there are two projections where there are three; the vocabulary's layer stands
                inside every block; activations stand behind residual sums, and norms nowhere; the embedding and
                `feedforward` are made and never used, and there is no `call`.""")),
        Entry(
            Both("训练和评估", "training and evaluation"),
            where="Trainer cross_entropy_backward",
            run="""
import numpy as np
from gpt2np.layers.cross_entropy import cross_entropy_backward, cross_entropy_forward
loss, cache = cross_entropy_forward(np.zeros((1, 2, 4)), np.array([[1, 3]]))
print(loss.round(3), cross_entropy_backward(1.0, cache)[0].tolist())
""",
            prints="1.386 [[0.125, -0.375, 0.125, 0.125], [0.125, 0.125, 0.125, -0.375]]",
            shown="test_it_learns_and_says_so only_the_target_gains",
            errata="E001-26 E001-27 E001-28",
            text=Both(
                """输入多了一个轴，目标被压成一行；损失没有求平均就打印；没有优化器，学习率和批大小都没有用到；
                训练时 dropout 是关着的。`evaluate` 拿同一个数据集既作输入又作目标，于是照抄输入的模型得分最好；结果
                又被丢掉了。""",
                """Inputs get an axis more, and targets are flattened to one row; the loss is not averaged before it is
                printed; there is no optimizer, and nothing uses the learning rate and the batch size; dropout is off in
                training. A data set is given to `evaluate` as input and as target at once, so a model that repeats the
                text does best; and the result is thrown away."""))),
    section(
        "5.3", "代码解读与分析", "reading the code",
        Entry(
            where="GPT2.backward",
            errata="E001-29 E001-30",
            run="""
import numpy as np
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2
model = GPT2(GPT2Config(50, 8, 12, 3, 2), np.random.default_rng(0))
loss = model.loss_and_gradients([[3, 1, 4, 1]], [[1, 4, 1, 5]])
print(f"{loss:.2f}", all(parameter.grad is not None for _, parameter in model.named_parameters()))
""",
            prints="3.97 True",
            text=Both(
                """损失是前向算出来的，反向传播的是梯度。`train_step` 和 `evaluate` 是函数，不是 `GPT2` 的方法。""",
                """The loss is computed forwards; what goes backwards are gradients. `train_step` and `evaluate` are
                functions, not methods of `GPT2`."""))),
    section("6", "实际应用场景", "applications"),
    section("6.1", "智能客服系统", "customer service", Entry(like="S000 6.1")),
    section(
        "6.2", "金融舆情监测", "watching the news of finance",
        Entry(
            errata="E001-31",
            text=Both(
                """会写文章，不等于会分类：判断情感（6.2）需要分类的输出头和标签，或者一个提示。""",
                """A model that writes does not classify by writing: sentiment (6.2) needs a head and labels, or a
                prompt."""),
            like="S000 6.2")),
    section("6.3", "个性化推荐系统", "recommendation", Entry(like="S000 6.3")),
    section("6.4", "未来应用展望", "what may come", Entry(like="S000 6.4")),
    section("7", "工具和资源推荐", "tools and reading"),
    section(
        "7.1", "学习资源推荐", "reading",
        Entry(
            errata="E001-32",
            text=Both(
                """Nielsen 的《Neural Networks and Deep Learning》是 2015 年的书，里面没有 GPT-2。""",
                """Nielsen's "Neural Networks and Deep Learning" is of 2015 and does not have GPT-2."""),
            like="S000 7.1")),
    section("7.2", "开发工具推荐", "tools", Entry(like="S000 7.2")),
    section(
        "7.3", "相关论文推荐", "papers",
        Entry(
            where="GPT2",
            errata="E001-33",
            here=Both(
                """GPT-2 的论文写在 [[GPT2]] 的说明里；每个文件都这样注明它的出处，连同公式或章节的编号。""",
                """GPT-2's paper stands in the docstring of [[GPT2]]; every file names its source like that, with the
                number of the equation or section."""),
            text=Both(
                """7.3 的第 4、5 项查无此文；GPT-2 的论文是第 3 项。""",
                """Items 4 and 5 of 7.3 are not to be found; GPT-2's paper is item 3."""),
            like="S000 7.3")),
    section("8", "总结：未来发展趋势与挑战", "summary and outlook"),
    section("8.1", "总结", "summary", Entry(like="S000 8.1")),
    section("8.2", "未来发展趋势", "where it goes", Entry(like="S000 8.2")),
    section("8.3", "面临的挑战", "difficulties", Entry(like="S000 8.3")),
    section(
        "8.4", "研究展望", "research to come",
        Entry(
            where="sentence_pairs.difference",
            run="python -m gpt2np.score --task pairs --model demo",
            here=Both(
                """“偏见”的测量：只差一个词的成对句子，模型更相信哪一句。见 [[scoring.md]]。""",
                """Bias, measured: of two sentences that differ in one word, which one the model holds likelier. See
                [[scoring.md]]."""),
            shown="test_a_difference_has_two_parts",
            like="S000 8.2")),
    section("9", "附录：常见问题与解答", "questions"),
    section(
        "9 Q1", "GPT-2模型是否适用于所有NLP任务？", "Is GPT-2 for every task?",
        Entry(
            errata="E001-35",
            text=Both(
                """这里（9 Q1）把数据少说成长处，3.3 却说是风险；其实是风险。""",
                """Small data is called a strength in 9 and a risk in 3.3; it is a risk."""),
            like="S001 3.2.2")),
    section(
        "9 Q2", "GPT-2模型如何避免过拟合？", "How to avoid overfitting?",
        Entry(
            where="Plan dropout_forward adamw_update OPTIMIZERS adversarially Ensemble augmenting.with_synonyms",
            run="python -m gpt2np.train FILE --out DIR --dropout 0.1 --weight-decay 0.1 --patience 3",
            here=Both(
                """dropout、权重衰减和提前停止都是训练命令的选项。L2 正则与权重衰减不是一回
                事：`--optimizer sgd` 和 `--optimizer adam` 把衰减项加进梯度，默认的 AdamW 则让衰减单独作用。近义替换和
                随机删词（`--replace-words`、`--delete-words`）用于文本分类；对抗训练（`--adversarial`）每个任务都能用；
                多个模型取平均是 `evaluate` 的 `--ensemble`，分类也可以；回译由两次翻译训练组成。它们各有什么用，
                [docs/robustness.zh.md](robustness.zh.md) 有一张表。""",
                """Dropout, weight decay and early stopping are options of the command. L2 and weight decay are two
                things: `--optimizer sgd` and `--optimizer adam` add it to the gradient, AdamW, the default, keeps it
                apart. Synonyms and deletions (`--replace-words`, `--delete-words`) are for labels of texts;
                adversarial training (`--adversarial`) is for every task; `--ensemble` of `evaluate` takes the mean of
                several models, of labels too; back-translation is two runs that translate. What each of them is good
                for, a table in [docs/robustness.md](robustness.md) tells."""),
            shown="test_it_stops_early_and_keeps_the_best drops_and_scales "
                  "test_fgm_moves_each_text_by_epsilon_along_its_gradient_and_no_padding "
                  "test_its_loss_is_at_most_the_mean_of_the_losses "
                  "test_one_model_together_is_itself_to_the_bit")),
    section(
        "9 Q3", "GPT-2模型在落地部署时需要注意哪些问题？", "What matters when it is put to use?",
        Entry(
            where="Engine Together Metrics convert.py safetensors.write narrow.quantize trimming.drop_blocks "
                  "take_out_heads importances smaller.smaller",
            run="python -m gpt2np.serve --model demo",
            here=Both(
                """服务接口：多个请求共用一个批次，超出限度就用一句话拒绝，`/metrics` 供监控读取；前面放什么、怎样扩展到
                多台机器，见 [docs/serving.zh.md](serving.zh.md)。量化：
                `python -m gpt2np.quantize --model demo --out small` 把矩阵存成 int8，只占四分之一的内存。裁剪：
                `python -m gpt2np.trim FILE --model demo --layers 3,4 --out DIR` 去掉几层，`--heads 12` 去掉最不重要的
                注意力头，`--vocab FILE` 只留一段文本用得到的词元，每裁一步都量一次；BERT 也能裁。代价见
                [docs/smaller.zh.md](smaller.zh.md)。""",
                """A service: requests share a batch, what is above the limits is refused in a sentence, and `/metrics`
                is for monitoring; what to put in front, and how to go on to several machines, is in
                [docs/serving.md](serving.md). Quantisation: `python -m gpt2np.quantize --model demo --out small` keeps
                matrices in int8, in a quarter of the memory. Trimming:
                `python -m gpt2np.trim FILE --model demo --layers 3,4 --out DIR` drops blocks, `--heads 12` the heads
                that matter least, `--vocab FILE` all tokens but a text's, and each cut is measured; a BERT can be cut,
                too. What that costs is in [docs/smaller.md](smaller.md)."""),
            shown="test_in_company_each_text_is_what_it_is_alone test_the_metrics_add_up "
                  "test_a_product_is_within_its_bound_of_the_exact_one test_a_head_taken_out_is_a_gate_at_zero "
                  "test_a_text_has_the_same_tokens test_a_text_of_what_stays_has_the_same_pieces_and_answers")),
    section(
        "9 Q4", "GPT-2模型的训练时间如何优化？", "How to train faster?",
        Entry(
            where="DataParallel MPIParallel mixed.HalfLinear mixed.LossScale",
            run="python -m gpt2np.train FILE --out DIR --threads 2 --accumulate 2",
            here=Both(
                """多线程、梯度累积（`--accumulate`）和多台机器（见 [[training/mpi.py]]）。模型并行用 30 行代码做到，
                在线程和 MPI 上都能运行：[[parallel.md]]。混合精度（float16 的乘法、损失放大、溢出则跳过这一步）的曲线与
                float32 的并排，见 [[listings.md]]。""",
                """Threads, accumulation (`--accumulate`), and several machines (see [[training/mpi.py]]). Model
                parallelism in 30 lines, on threads and over MPI: [[parallel.md]]. Mixed precision, with products in
                float16, a scaled loss and steps that are skipped where it overflows, has its curve beside that of
                float32 in [[listings.md]]."""),
            shown="test_threads_and_pieces_are_the_whole_batch test_shares_add_up_to_the_whole "
                  "test_without_a_scale_small_gradients_vanish",
            errata="E001-34",
            text=Both(
                """机器更多，提高的是吞吐量，不是收敛的速度：梯度就是一个大批次的梯度。""",
                """More machines raise the throughput, not the speed of convergence: the gradient is that of one large
                batch."""),
            missing=Both(
                """16 位浮点的混合精度只是模拟，不省内存和时间；GPU 上未经实测。""",
                """training in 16 bits is emulated, and saves neither memory nor time; nothing was measured on a
                GPU."""))),
    section(
        "9 Q5", "GPT-2模型在实际应用中的表现如何？", "How good is it in use?",
        Entry(like="S001 6.2")),
))
