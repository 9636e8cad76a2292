"""The mistakes that are matters of fact: dates, names, what a paper or a library says, and what a text says twice.

No computation proves these, so there is a source for each. Most have no test; a few have one, for the rest of what is
wrong with the same words. docs/chapter.md says what is here in `page`, word for word, and names the source.
"""

from typing import NamedTuple


class Fact(NamedTuple):
    place: str          # the text and its section
    says: str           # what it says, word for word
    so: str             # what is so
    source: str
    page: str = ""      # how docs/chapter.md says it; "" where a test shows the rest, and the page tells that


GPT2_PAPER = "Radford et al. 2019, Language Models are Unsupervised Multitask Learners"
ADAPTERS = "Houlsby et al. 2019, Parameter-Efficient Transfer Learning for NLP, arXiv:1902.00751"
ADALORA = "Zhang et al. 2023, AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning, arXiv:2303.10512"

FACTS = {
    "E000-01": Fact("S000 1.2", "成为目前最强大的语言模型之一",
                    "GPT-2 is of February 2019; many models have been stronger since.",
                    GPT2_PAPER, "It is of 2019."),
    "E000-20": Fact("S000 4.3", "以机器翻译为例，展示Transformer和GPT-2模型在机器翻译任务中的应用。",
                    "GPT-2 was not trained to translate. Asked by a prompt, it reached 5 BLEU from English to French "
                    "and 11.5 from French to English, on WMT-14.",
                    f"{GPT2_PAPER}, section 3.7", "it reached 5 BLEU from English to French and 11.5 back"),
    "E000-30": Fact("S000 5.2", "from transformers import BertTokenizer, BertForSequenceClassification, AdamW",
                    "transformers has no AdamW from version 4.50.0 on: the import fails.",
                    "https://github.com/huggingface/transformers/pull/36177"),
    "E000-37": Fact("S000 7.3", "在不增加模型参数量的情况下",
                    "Adapters add 0.5 to 8 % of the model's parameters; 3.6 % for the result that the abstract gives.",
                    f"{ADAPTERS}, abstract and section 2.1"),
    "E000-38": Fact("S000 7.3", "AdaLoRA: Adaptive Low-Rank Adaptation for Parameter-Efficient Fine-Tuning",
                    "The title is AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning. S003 7.3 "
                    "and S004 7.3 have the same.",
                    ADALORA, "AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning"),
    "E000-39": Fact("S000 6.1", "匹配最合适的答案模板进行回复",
                    "To choose among templates is retrieval: a model that generates writes an answer of its own.",
                    "S000 1.3, 3.4: 文本生成",
                    "To choose an answer from templates (6.1) is retrieval, not generation."),
    "E001-05": Fact("S001 3.2.1", "通常使用自然语言语料库如维基百科、新闻、小说等",
                    "GPT-2's corpus is WebText, pages that Reddit linked to; Wikipedia was taken out of it. And BERT, "
                    "named beside it, is not trained to predict the next token.",
                    f"{GPT2_PAPER}, section 2.1; Devlin et al. 2019, BERT, arXiv:1810.04805, section 3.1",
                    "GPT-2's corpus is WebText, from which Wikipedia was taken out."),
    "E001-07": Fact("S001 3.4", "通过多模态注意力机制，实现跨语言翻译。",
                    "Multimodal is of text with images or sound. What leads from one language to the other is "
                    "cross-attention.",
                    "Vaswani et al. 2017, Attention Is All You Need, arXiv:1706.03762, section 3.2.3",
                    'Translation is by cross-attention (or a prompt), not by "multimodal" attention.'),
    "E001-08": Fact("S001 3.4", "将语音转换为文本或将文本转换为语音，通过Transformer模型实现。",
                    "Other Transformers do; GPT-2 reads and writes bytes of text, and nothing else.",
                    f"{GPT2_PAPER}, sections 2.1 and 2.2", "GPT-2 knows text alone: no speech, no images."),
    "E001-16": Fact("S001 5.1", "pip install keras==2.5",
                    "PyPI has 2.4.3, 2.5.0rc0 and 2.6.0: a release 2.5 was never made, so this fails.",
                    "https://pypi.org/project/keras/#history", "Keras 2.5 was never released"),
    "E001-21": Fact("S001 5.2", "self.layers = [self.encoder_layer() for _ in range(num_layers)]",
                    "layers is a property of tf.keras.Model that cannot be set: AttributeError.",
                    "https://github.com/keras-team/keras/pull/20275", "`self.layers` cannot be set"),
    "E001-22": Fact("S001 5.2", "return layers.Sequential(",
                    "tf.keras.layers has no Split, Transpose, Mean or Sequential; the last is tf.keras.Sequential.",
                    "https://www.tensorflow.org/versions/r2.7/api_docs/python/tf/keras/layers",
                    "Keras has no layers Split, Transpose, Mean or Sequential"),
    "E001-31": Fact("S001 6.2", "进行文本生成，自动监测不同主题下的情感变化趋势",
                    "A model that writes a text has not classified one: that takes a head and labels, or a prompt "
                    "whose answers are compared.",
                    "S001 3.4: 任务适配层",
                    "A model that writes does not classify by writing"),
    "E001-32": Fact("S001 7.1", "系统介绍了各种神经网络模型，包括GPT-2模型。",
                    "Nielsen's Neural Networks and Deep Learning is of 2015, four years before GPT-2.",
                    "http://neuralnetworksanddeeplearning.com", "is of 2015 and does not have GPT-2"),
    "E001-33": Fact("S001 7.3", "GPT-2：A Language Model for Human-Like Text Generation",
                    "No such paper is to be found, nor one called No Teacher Needed: Languages Learned from Scratch. "
                    "GPT-2's paper is the one that stands above them.",
                    GPT2_PAPER, "Items 4 and 5 of 7.3 are not to be found; GPT-2's paper is item 3."),
    "E001-35": Fact("S001 9", "特别是对于数据量较小的任务",
                    "3.3 of the same text names it as a risk: with little data, fine-tuning overfits.",
                    "S001 3.3: 如果微调数据集过小，模型容易过拟合",
                    "Small data is called a strength in 9 and a risk in 3.3"),
    "E002-03": Fact("S002 1.2", "构建跨层连接，增强模型的信息传递能力。",
                    "A residual leads around one sub-layer, and into the next; no connection skips whole layers.",
                    "Vaswani et al. 2017, Attention Is All You Need, arXiv:1706.03762, section 3.1",
                    "Residuals lead around each sub-layer, not across layers."),
    "E002-18": Fact("S002 5.4", "效果相当不错",
                    "BERT base reaches 92.4 F1 on the entities of CoNLL-2003's test set.",
                    "Devlin et al. 2019, BERT, arXiv:1810.04805, table 7"),
    "E003-07": Fact("S003 3.4", "Transformer在机器翻译任务上取得了最先进的效果",
                    "See E000-20: 5 and 11.5 BLEU, where the best translation without pairs of texts then had 33.5.",
                    f"{GPT2_PAPER}, section 3.7", "or the best translator (S003 3.4, 6.1)"),
    "E003-16": Fact("S003 7.3", "Large-Scale Transformer-Based Machine Translation（GPT-2论文）",
                    "GPT-2's paper is Language Models are Unsupervised Multitask Learners. In 7.1, Natural Language "
                    "Processing with Transformers is by Tunstall, von Werra and Wolf of Hugging Face, and fairseq is a "
                    "library; The Annotated Transformer is a page of Harvard's with code.",
                    f"{GPT2_PAPER}; https://transformersbook.com; https://github.com/facebookresearch/fairseq; "
                    "https://nlp.seas.harvard.edu/annotated-transformer/",
                    'Fairseq is a library, "The Annotated Transformer" a web page of Harvard\'s with the code.'),
    "E004-09": Fact("S004 5.2", "max_length=512",
                    "transformers counts the prompt's tokens in max_length; max_new_tokens does not.",
                    "https://huggingface.co/docs/transformers/main_classes/text_generation, GenerationConfig",
                    "`max_length` counts the prompt, too."),
    "E004-11": Fact("S004 5.2", "from transformers import GPT2ForCausalLM",
                    "There is no such class: it is GPT2LMHeadModel. ImportError.",
                    "https://huggingface.co/docs/transformers/model_doc/gpt2; transformers 5.24.0",
                    "transformers has no `GPT2ForCausalLM`; it is `GPT2LMHeadModel`."),
    "E004-15": Fact("S004 5.4", "CoNLL-2003的文本生成数据集",
                    "CoNLL-2003 is a data set of named entities.",
                    "Tjong Kim Sang, De Meulder 2003, Introduction to the CoNLL-2003 Shared Task, arXiv:cs/0306050"),
    "E004-20": Fact("S004 7.3", "如NIPS、ICML、ACL、ICLR等人工智能领域顶会",
                    "The conference NIPS is called NeurIPS since 2018.",
                    "https://neurips.cc"),
}
