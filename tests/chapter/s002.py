"""The companion on the GPT series."""

from .table import Both, Entry, Text, section

S002 = Text("S002", "Transformer 的出现：改变计算范式的 GPT 系列", "the GPT series", (
    section("1", "背景介绍", "background"),
    section("1.1", "问题由来", "where the question comes from", Entry(like="S000 1.1")),
    section(
        "1.2", "问题核心关键点", "the key points",
        Entry(
            where="attention_forward",
            run="""
import numpy as np
from gpt2np.layers.attention import attention_forward
q, k, v = np.random.default_rng(0).standard_normal((3, 1, 1, 5, 4))
order = [3, 0, 4, 1, 2]
shuffled, _ = attention_forward(*(a[:, :, order] for a in (q, k, v)))
print(np.allclose(shuffled, attention_forward(q, k, v)[0][:, :, order]))
""",
            prints="True",
            points=(1, 10),
            errata="E002-01 E002-02 E002-03",
            text=Both(
                """“忽略序列顺序”不是优点：没有位置和掩码，把词元打乱，注意力的输出只是跟着打乱，所以顺序要靠位置补回
                来。残差连接绕过的是一个个子层，并不“跨层”。""",
                """To leave the order out is no virtue: without positions and a mask, attention of shuffled tokens is
                shuffled, and nothing else; so the order is put back by positions. Residuals lead around each sub-layer,
                not across layers."""))),
    section("2", "核心概念与联系", "concepts, and how they hang together"),
    section(
        "2.1", "核心概念概述", "the concepts",
        Entry(
            where="PreNormBlock",
            run="""
import numpy as np
from gpt2np.blocks.stack import Stack
from gpt2np.blocks.transformer import PreNormBlock
stack = Stack(PreNormBlock(12, 3, np.random.default_rng(0), dtype=np.float64) for _ in range(24))
_, cache = stack.forward(np.ones((1, 4, 12)) + np.eye(12)[:4])
print(np.linalg.norm(stack.backward(np.ones((1, 4, 12)), cache)).round(1))
""",
            prints="8.1",
            here=Both(
                """梯度往回穿过 24 个块，范数与出发时（6.9）差不多：它沿着残差连接直通到底。""",
                """After 24 blocks the gradient is about as long as it came in (6.9): it goes straight down the
                residuals."""),
            shown="zero_projections_are_the_identity",
            points=(5,),
            errata="E002-04 E002-05 E002-06",
            text=Both(
                """残差连接让梯度穿过很深的网络；能看到远处文字的，是注意力。那张大流程图有 46 个同名的节点，其中 26 个
                连成一个环。""",
                """Residuals let gradients through the depth; it is attention that reaches far in the text. The large
                flow chart has 46 nodes with one name, and 26 of them make a ring."""))),
    section("2.2", "概念间的关系", "how they hang together"),
    section(
        "2.2.1", "Transformer模型的计算流程", "the flow of the Transformer",
        Entry(
            where="Transformer PostNormBlock DecoderBlock",
            run="""
import gpt2np, numpy as np
from gpt2np.models.config import TransformerConfig
from gpt2np.models.transformer import Transformer
model = Transformer(TransformerConfig(50, n_embd=12, n_head=3, n_layer=1, n_inner=48), np.random.default_rng(0))
steps = gpt2np.trace(model, np.full((1, 9), 7), None, np.full((1, 4), 8))
print(*dict.fromkeys(step.name.split(".")[2] for step in steps if step.name.startswith("decoder")))
""",
            prints="in attn ln_1 cross_attn ln_2 mlp ln_3",
            here=Both(
                """解码器一层之内的各步，按执行的顺序。""",
                """Every step of a forward pass, with one layer in the encoder and one in the decoder."""),
            shown="test_shapes.test_forward",
            errata="E002-11",
            text=Both(
                """图中缺少 MLP，也缺少解码器的交叉注意力。""",
                """The MLP is missing, and the cross-attention of the decoder."""))),
    section(
        "2.2.2", "GPT系列模型的结构", "the GPTs",
        Entry(
            where="GPT2",
            run="""
from gpt2np.models.config import GPT2Config
from gpt2np.models.gpt2 import GPT2
print(*(path for path, _ in GPT2(GPT2Config(50, 8, 12, 3, 1)).named_modules()))
""",
            prints="""
wte wpe h.0 h.0.ln_1 h.0.attn h.0.attn.c_attn h.0.attn.c_proj h.0.ln_2 h.0.mlp h.0.mlp.c_fc h.0.mlp.c_proj ln_f lm_head
""",
            here=Both(
                """GPT-2 的全部组成部分：没有编码器，也没有交叉注意力。""",
                """All that GPT-2 consists of: no encoder, no cross-attention."""),
            points=(5,))),
    section(
        "2.2.3", "Transformer模型的优缺点", "strengths and limits",
        Entry(
            where="attention_forward",
            points=(10,),
            errata="E002-02",
            run="""
C, L = 768, 12                                                  # GPT-2 124M
for T in (64, 1024):
    print(T, "x x'", f"{4 * T * T * C * L / 1e9:.1f}", "x w", f"{24 * T * C * C * L / 1e9:.1f}")
""",
            prints="""
64 x x' 0.2 x w 10.9
1024 x x' 38.7 x w 173.9
""",
            here=Both(
                """一次前向传播中，注意力的两个乘积与各层权重的乘积，单位是十亿次运算：前者随 $T^2$ 增长。""",
                """The two products of attention beside those with weights, in a forward pass, in billions of
                operations: the former grow like $T^2$."""))),
    section(
        "2.3", "核心概念的整体架构", "the whole",
        Entry(
            where="language_modelling.load_to_train add_lora freeze_all_but scoring.score Template",
            run="python -m gpt2np.score docs/questions.tsv --model demo --examples docs/questions.tsv --shots 3",
            here=Both(
                """预训练、全参数微调（`python -m gpt2np.train FILE --init-from demo --out DIR`）和参数高效微调（再加
                `--adapt lora`）都可以运行；只微调一部分，用 `--train-only`（[[S000 8.2]]）。上面的命令是少样本学习：每
                道题前面放三道例题，让模型选一个答案；去掉例题就是零样本学习。见 [[scoring.md]]。持续学习时忘掉多
                少，见 [[docs/adapting.md]]。""",
                """Pre-training, fine-tuning of all parameters
                (`python -m gpt2np.train FILE --init-from demo --out DIR`) and of few (with `--adapt lora`) run;
                `--train-only` trains a part ([[S000 8.2]]). The command above is few-shot: three examples stand before
                each question, and the model chooses; without them it is zero-shot. See [[scoring.md]]. How much is
                forgotten in learning one thing after another: [[docs/adapting.md]]."""),
            shown="test_scores_are_those_of_transformers test_templates")),
    section("3", "核心算法原理 & 具体操作步骤", "the algorithm, and its steps"),
    section(
        "3.1", "算法原理概述", "the principle",
        Entry(points=(1, 5), like="S002 2.2.1")),
    section(
        "3.2", "算法步骤详解", "the steps in detail",
        Entry(
            where="new_finetuning.new_task FineTuning put_head_on Plan freeze_all_but SGD Adam",
            run="python -m gpt2np.finetune --task classify reviews.tsv --out DIR --optimizer adam --patience 2",
            here=Both(
                """五个步骤都在：数据，任务的输出头，优化器、学习率调度、权重衰减、dropout、提前停止和冻结都是命令的选项，
                最后在测试集上写出报告；见 [[finetuning.md]]。""",
                """All five steps: data, a head for the task, optimizers, schedules, weight decay, dropout, early
                stopping and freezing as options of the command, and a report on a test set at the end; see
                [[finetuning.md]]."""),
            shown="test_fine_tuning_begins_with_what_was_learned test_patience_and_best test_a_resumed_run_is_the_same",
            errata="E002-19",
            text=Both(
                """提前停止、权重衰减、学习率调度和冻结都有描述，5.2 的代码里却一样也没有。""",
                """Early stopping, weight decay, schedules and freezing are described, and not in the code of
                5.2."""))),
    section("3.3", "算法优缺点", "strengths and limits", Entry(points=(10,), like="S002 2.2.3")),
    section(
        "3.4", "算法应用领域", "applications",
        Entry(
            where="NamedEntities TextClassification QuestionAnswering WrittenAnswers entities_of with_marks "
                  "load_labeller",
            run="python -m gpt2np.finetune --task ner names.conll --out DIR",
            here=Both(
                """各任务的模型，BERT 或 GPT-2：分类、命名实体识别、文中的答案、写出的答案；关系抽取就是分类，先在文本里
                标出两个实体。训练好的模型用 `python -m gpt2np.label TEXT --model DIR` 给新文本加标签；见
                [[finetuning.md]]。""",
                """The models for each, BERT or GPT-2: classes, names, answers in a text, and answers that are written;
                relations are classes of texts in which the two names are marked. What comes of it labels new texts:
                `python -m gpt2np.label TEXT --model DIR`; see [[finetuning.md]]."""),
            shown="test_a_run_ends_with_a_report test_answers_in_a_text_longer_than_the_model "
                  "test_relations_are_texts_with_marks test_what_a_run_predicts")),
    section("4", "数学模型和公式 & 详细讲解", "the mathematics"),
    section(
        "4.1", "数学模型构建", "the model",
        Entry(
            where="SelfAttention",
            run="""
import numpy as np
from gpt2np.blocks.multihead import SelfAttention
attention = SelfAttention(12, 3, np.random.default_rng(0), causal=True)
q, k, v = np.split(attention.c_attn.forward(np.ones((1, 4, 12)))[0], 3, axis=-1)
print(q.shape, k.shape, v.shape)
""",
            prints="(1, 4, 12) (1, 4, 12) (1, 4, 12)",
            points=(5,),
            errata="E002-09 E002-11",
            text=Both(
                r"""第 2 步把 $Q$、$K$、$V$ 叫作注意力权重。它们是投影；权重是 $QK^T / \sqrt{d_k}$ 的 softmax。""",
                r"""Q, K and V (step 2) are projections; the weights are the softmax of $Q K^T / \sqrt{d_k}$."""))),
    section(
        "4.2", "公式推导过程", "the formulas",
        Entry(
            Both("自注意力", "attention"),
            where="attention_forward",
            run="""
import numpy as np
from gpt2np.layers.attention import attention_forward
q, k, v = np.random.default_rng(0).standard_normal((3, 1, 1, 5, 4))
y, _ = attention_forward(q, k, v)
print(bool((y.min(axis=2) >= v.min(axis=2)).all() and (y.max(axis=2) <= v.max(axis=2)).all()))
""",
            prints="True",
            shown="weights_sum_to_1",
            errata="E002-10",
            text=Both(
                """公式是对的。最后一步是在各位置上对值取加权平均，不是“对 V 进行线性变换”：平均值不会超出各个值
                的范围。""",
                """The formula is right. The last step is a weighted mean of the values over the positions, not "a
                linear transformation of V": a mean stays between the values.""")),
        Entry(
            Both("多头自注意力", "heads"),
            where="SelfAttention",
            run="python -m gpt2np.gradcheck --layer SelfAttention",
            errata="E002-07 E002-08",
            text=Both(
                """各头的结果是并排拼接后乘以 $W^O$，等价于第 $i$ 个头乘以 $W^O$ 中属于它的行，再相加；直接把各头相加是
                另一回事。查询、键和值共用一个矩阵 $W_i$ 会使得分对称：一个位置看另一个有多重，另一个看它就有多重。""",
                """Heads are joined side by side and multiplied by $W^O$, which is the same as adding head $i$ times its
                rows of $W^O$; to add the heads themselves is something else. And one matrix $W_i$ for queries, keys and
                values makes the scores symmetric: each position would look at another as much as that one at it."""))),
    section(
        "4.3", "案例分析与讲解", "an example",
        Entry(
            where="BERT BertForPreTraining PostNormBlock gelu_erf_forward fill.show",
            run="""
import numpy as np
from gpt2np.models.bert import BertForPreTraining
from gpt2np.models.config import BertConfig
model = BertForPreTraining(BertConfig(50, 16, 12, 3, 2, 48), np.random.default_rng(0))
words, pairs = model.forward([[2, 7, 4, 9, 3]])[0]
print(words.shape, pairs.shape)
""",
            prints="(1, 5, 50) (1, 2)",
            here=Both(
                """完整的 BERT：词、位置、句段三种嵌入之和，两个方向都看的若干层（后置归一化，精确形式的 GELU），以及
                预训练用的两个输出头。公开的权重用 `gpt2np.load` 读取；[[fill.py]] 让它填空。""",
                """BERT as a whole: the sum of the embeddings of word, position and segment, blocks that see both sides
                (norms behind, the exact GELU), and the two heads that it is trained with. `gpt2np.load` reads published
                weights; [[fill.py]] lets it fill gaps."""),
            shown="every_token_sees_both_sides padding_does_not_matter test_logits_loss_and_every_gradient",
            errata="E002-10",
            text=Both(
                """$Q$、$K$、$V$ 既指矩阵，又指矩阵算出的东西；而且 BERT 不是 GPT 系列的例子。""",
                """Q, K and V name both the matrices and what they make; and BERT is no example of the GPTs."""))),
    section("5", "项目实践：代码实例和详细解释说明", "the project"),
    section("5.1", "开发环境搭建", "setting up", Entry(like="S000 5.1")),
    section(
        "5.2", "源代码详细实现", "the source code",
        Entry(
            where="TokenClassifier NamedEntities cross_entropy_forward WordPiece",
            run="""
import numpy as np
from gpt2np.models.bert import BERT
from gpt2np.models.config import BertConfig
from gpt2np.models.heads import TokenClassifier
model = TokenClassifier(BERT(BertConfig(50, 8, 12, 3, 2, 48)), [f"tag {i}" for i in range(9)])
print(model.loss([[7, 8, 9, 0]], None, None, [[3, -100, 8, -100]]).round(3), np.log(9).round(3))
""",
            prints="2.197 2.197",
            here=Both(
                """BERT 之上的输出头，给每个词元一个标签。填充的位置，以及一个词除第一个子词以外的部分，目标都设为
                −100，不计入损失。这里的输出头还是空的，什么也不知道：损失是 ln 9。""",
                """A head with a label for each token, on BERT. Padding, and the parts of a word behind its first, have
                the target -100, and do not count. This head is empty and knows nothing: its loss is ln 9."""),
            shown="test_logits_loss_and_every_gradient_of_each_head padded_rows_are_as_alone "
                  "test_a_word_of_several_pieces ignored_targets_do_not_count",
            errata="E002-12 E002-13 E002-14 E002-19",
            text=Both(
                """代码里是 7 个标签，报告里是 9 个（四类实体各有 B 和 I，再加 O）。优化器、数据集、`tag2id` 等都没有定
                义。`evaluate` 用一个批次覆盖了自己的标签列表，又在赋值之前读取 `batch_labels`；预测结果查表的方向反了；
                填充和词的后续部分也被计分。""",
                """7 labels where the report has 9 (begin and inside of four kinds, and O). Optimizer, data set,
                `tag2id` and more are not defined. `evaluate` overwrites its list of labels by a batch and reads
                `batch_labels` before it is set; predictions are looked up in the wrong direction; padding and parts of
                words are counted."""))),
    section(
        "5.3", "代码解读与分析", "reading the code",
        Entry(
            like="S002 5.2",
            text=Both(
                """这里讲到的 `NERDataset`、`tag2id` 和 DataLoader，在 5.2 的代码里都没有。""",
                """`NERDataset`, `tag2id` and DataLoader, of which it speaks, are not in the code of 5.2."""))),
    section(
        "5.4", "运行结果展示", "results",
        Entry(
            where="entity_report token_reports",
            run="""
from gpt2np.text.label_reports import table, token_reports
gold = [["B-PER", "I-PER", "O", "O", "O", "B-LOC", "O", "O"]]
print(table(token_reports(gold, [["O"] * 8])))
""",
            prints="""
                with O                          without O
               prec.  recall      F1 support   prec.  recall      F1 support

B-LOC          0.000   0.000   0.000       1   0.000   0.000   0.000       1
B-PER          0.000   0.000   0.000       1   0.000   0.000   0.000       1
I-PER          0.000   0.000   0.000       1   0.000   0.000   0.000       1
O              0.625   1.000   0.769       5

micro avg      0.625   0.625   0.625       8   0.000   0.000   0.000       3
macro avg      0.156   0.250   0.192       8   0.000   0.000   0.000       3
weighted avg   0.391   0.625   0.481       8   0.000   0.000   0.000       3
""",
            here=Both(
                """永远回答 O 的“模型”：计入 O 时准确率 62.5%，不计 O 时什么也没找到。""",
                """Who always says O: right for 62.5 % with O, and without it nothing was found."""),
            shown="test_reports_are_those_of_seqeval_and_scikit_learn test_always_o test_the_table_of_the_docs",
            errata="E002-15 E002-16 E002-17 E002-18",
            text=Both(
                """97.5% 不是表中任何一个 F1：0.975 只出现一次，是 I-PER 的召回率，总的 F1 是 0.955。九个 F1 中有六个不
                是其精确率与召回率的调和平均，各个平均值也不能由各行算出。命名实体应当按实体计分，并且不算 O；这些词元
                里，永远回答 O 就能答对 82.5%。""",
                """97.5 % is no F1 of the table: 0.975 stands there once, as the recall of I-PER, and the F1 of all is
                0.955. Six of the nine F1 are not the harmonic mean of their precision and recall, and the averages do
                not follow from the rows. Named entities are scored by entity and without O; to answer O always is right
                for 82.5 % of these tokens."""))),
    section("6", "实际应用场景", "applications"),
    section("6.1", "智能客服系统", "customer service", Entry(like="S000 6.1")),
    section("6.2", "金融舆情监测", "watching the news of finance", Entry(like="S000 6.2")),
    section(
        "6.3", "个性化推荐系统", "recommendation",
        Entry(
            text=Both("""原文在句子中间中断。""", """The text breaks off in the middle of a sentence."""),
            like="S000 6.3")),
))
