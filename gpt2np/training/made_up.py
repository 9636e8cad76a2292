"""Labelled texts that need no file: sentences with names, and opinions; what is right follows from how they are made.

    王小明在南京的石阳银行工作。        Ms Ada Fairwick works for Bank of Leeds in Ashford .
    the soup was not bad , but the waiter was so rude .     neg        汤并不差，但是服务员很好。     pos

A sentence is a template, in which names of persons, places and organisations stand in the places of {PER}, {LOC} and
{ORG}.  Fairwick may be a person or a place: the words around it tell.  Names to learn from and names to be tested by
are apart: no name of a test was ever seen in training, though its parts may have been, so nothing is gained by learning
names by heart.  So are the things that opinions are about.

An opinion has the label of its last clause, and a clause is turned round by a not: so no single word says it.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from ..hints import Rng
from ..text.labels import Entity, tags_of
from .labelled import Classified, Tagged

TRAIN, VAL, TEST = "train", "val", "test"
ONE_OF = 8                      # of so many names and things, one is for VAL alone, and one for TEST
LISTED = 0.3                    # of places and family names, the part that is from a list
LONGER = 0.2                    # of the other places, the part that has one more part
LANGUAGES = ("zh", "en", "both")

SURNAMES = (
    "赵 钱 孙 李 周 吴 郑 王 冯 陈 褚 卫 蒋 沈 韩 杨 朱 秦 许 何 吕 张 孔 曹 严 华 金 魏 陶 姜 谢 邹 苏 潘 葛 "
    "范 彭 鲁 韦 马 方 任 袁 柳 唐 罗 薛 贺 汤 欧阳 司马 上官 诸葛").split()
GIVEN = (
    "小明国华志强秀英丽娜建军文静海燕春梅玉兰雪峰家豪子轩雨桐浩然思远嘉怡晓东红霞立新永康少林德胜美玲俊杰天佑")
ZH_PLACES = (
    "北京 上海 天津 重庆 广州 深圳 南京 苏州 杭州 宁波 武汉 长沙 成都 西安 兰州 昆明 贵阳 南宁 海口 福州 厦门 "
    "南昌 合肥 济南 青岛 郑州 洛阳 太原 大同 沈阳 大连 长春 哈尔滨 呼和浩特 银川 西宁 拉萨 乌鲁木齐 桂林 扬州 "
    "无锡 常州 温州 绍兴 泉州 烟台 威海 开封 宜昌 襄阳 株洲 湘潭 珠海 佛山 东莞 三亚 绵阳 乐山 遵义 大理 宝鸡 "
    "延安 敦煌").split()
ZH_KINDS = "大学 银行 医院 公司 中学 日报社 研究所 博物馆 图书馆 出版社 电视台 足球队".split()
ZH_FIRMS = "华信 东方 远大 长江 光明 恒通 天成 金山 新世纪 海洋 明珠 和平".split()
FIRST = (
    "Ada Alan Alice Amy Anna Ben Bill Carl Clara Dan Diana Dora Edith Emma Eric Erik Fay Fred Gina Grace Hans "
    "Harry Helen Henry Hugo Ian Ida Iris Ivan Jack Jane Jill John Kate Karl Laura Leo Linda Lucy Maria Mark "
    "Mary Max Mona Nina Nora Oscar Otto Paul Peter Rita Rose Ruth Sam Sara Simon Tom Tina Vera Victor Walter "
    "Wendy").split()
LAST = (
    "Adams Baker Barnes Bell Brooks Brown Burton Carter Clark Cole Cooper Cox Dalton Davies Dean Dixon Doyle "
    "Ellis Evans Fisher Foster Fox Gibson Gordon Grant Green Hale Harper Hayes Hill Hudson Hunt Irving Jensen "
    "Kemp Kerr Lane Lawson Mason Miller Moore Moss Newton Owen Palmer Parker Perry Porter Quinn Reed Rhodes "
    "Shaw Stone Tate Turner Vance Wade Walsh Webb Wood York Young").split()
EN_PLACES = (
    "Athens Berlin Bern Boston Bristol Cairo Chicago Cork Dallas Delhi Denver Dover Dublin Essen Exeter "
    "Florence Geneva Genoa Ghent Glasgow Graz Hamburg Havana Helsinki Houston Jena Kiel Kyoto Leeds Leipzig "
    "Lima Lisbon London Lyon Madrid Malmo Manila Milan Munich Nairobi Naples Oslo Oxford Padua Paris Porto "
    "Prague Quito Riga Rome Seville Sofia Tokyo Turin Venice Verona Vienna Warsaw York Zurich").split() + [
    "New York", "New Delhi", "Buenos Aires", "Cape Town", "Hong Kong", "Los Angeles", "San Diego", "San Marino",
    "Santa Cruz", "Tel Aviv", "Port Louis", "St Ives"]
# Most places and family names are made of two parts, so that there are far more than anyone could learn by heart.
ZH_PARTS = "江河湖海山川云龙凤金银石泉林松柏梅兰东西南北中长安平阳宁昌兴永新和清水白沙高大"
ZH_ENDS = "州城江山阳安县口镇川林泉海港原"
EN_PARTS = (
    "Ash Bark Black Brad Broad Clay Cran Dun East Fair Glen Hart Holm Kings Lang Lock Mar Nor Oak Pem Red "
    "Rock Rush Sand Shel Stan Thorn Wal West Whit Win").split()
EN_FIRSTS = "New Old Port Lake Mount San Upper North South".split()
EN_ENDS = "bridge bury by field ford gate ham leigh ley low mere port stead ton wick worth".split()
EN_KINDS = (
    "Bank of {}", "University of {}", "{} Bank", "{} Museum", "{} Airlines", "{} United", "{} Press", "{} College")
EN_FIRMS = (
    "{} Motors", "{} & Sons", "{} Foods", "{} Steel", "{} Group", "{} Books", "{} Inc", "{} & {}")
ZH_SENTENCES = (
    "{PER}昨天从{LOC}回到了{LOC}。", "记者{PER}在{LOC}报道。", "{PER}在{ORG}工作了三年。",
    "{ORG}的{PER}教授去{LOC}开会。", "{LOC}今天下大雨。", "我们坐火车去{LOC}，{PER}在那里等我们。",
    "{PER}和{PER}是好朋友。", "{ORG}今年招了五百名新人。", "{PER}说，他想去{ORG}看病。", "你见过{PER}吗？",
    "从{LOC}到{LOC}要走多久？", "{ORG}和{ORG}签了合同。", "{LOC}的春天很美。", "{PER}先生出生在{LOC}。",
    "这本书是{PER}写的，{ORG}出版。", "{PER}毕业于{ORG}，现在住在{LOC}。", "昨晚{ORG}赢了{ORG}。",
    "老师让学生写一篇作文。", "医生在医院里等病人。", "公司的新产品卖得很好。", "他每天早上去图书馆看书。",
    "这家银行离大学不远。", "我的家在江边，门前有一条小路。", "今天的日报你看了吗？", "{PER}女士请了病假。",
    "听说{PER}要离开{ORG}了。", "{LOC}人爱吃面。", "大学生{PER}在{LOC}找到了工作。", "据{ORG}消息，{LOC}明天有雪。",
    "感谢{PER}的帮助！", "{ORG}在{LOC}开了一家分店。", "校长{PER}参观了{LOC}的一所中学。", "球队昨天在客场输了球。",
    "妈妈买了鱼和青菜。")
EN_SENTENCES = (
    "{PER} went from {LOC} to {LOC} yesterday .", "I met {PER} at {ORG} .", "{ORG} has opened a shop in {LOC} .",
    "{PER} and {PER} are good friends .", "It rained all day in {LOC} .", "Ms {PER} works for {ORG} in {LOC} .",
    "{ORG} and {ORG} signed a contract .", "Where does {PER} live ?", "The weather in {LOC} was fine , said {PER} .",
    "{PER} , a doctor from {LOC} , joined {ORG} last year .", "Shares of {ORG} fell by ten per cent .",
    "The train to {LOC} leaves at noon .", "This book was written by {PER} and printed by {ORG} .",
    "Last night {ORG} beat {ORG} in {LOC} .", "The teacher asked the children to write a letter .",
    "A new bank stands beside the museum .", "Doctors in the town asked for more money .",
    "He reads the news every day .", "The university is far from the old college .", "Mr {PER} was born in {LOC} .",
    "Please ask {PER} about it .", "According to {ORG} , prices rose again .",
    "We flew to {LOC} and met {PER} there .", "My sister likes green apples .", "Thank you , {PER} !",
    "{LOC} is larger than {LOC} .", "{PER} left {ORG} in May .", "The wood is young and the hill is brown .",
    "Professor {PER} of {ORG} spoke in {LOC} .", "The workers of {ORG} want higher pay .")
ZH_THINGS = (
    "汤 面 鱼 饭 菜 茶 咖啡 蛋糕 房间 床 早餐 服务员 电影 故事 音乐 书 手机 屏幕 电池 价格 座位 音响 灯光 "
    "菜单 甜点").split()
ZH_GOOD = "好 不错 精彩 干净 漂亮 舒服 便宜 可口 方便".split()
ZH_BAD = "差 糟糕 难看 脏 无聊 吵 贵 麻烦 难受".split()
EN_THINGS = (
    "soup rice fish cake tea coffee room bed breakfast waiter film plot music book phone screen battery price "
    "seat sound light menu salad bread view").split()
EN_GOOD = "good nice great fine clean fresh lovely cheap quick".split()
EN_BAD = "bad poor awful dirty dull rude noisy slow stale".split()
# What means the same, and is in no list above: whoever has not been told does not know it.
SYNONYMS: dict[str, list[str]] = {word: others.split() for word, others in {
    "好": "优秀 绝佳", "不错": "出色 良好", "精彩": "出彩 绝妙", "干净": "整洁 洁净", "漂亮": "美丽 秀气",
    "舒服": "惬意 舒适", "便宜": "实惠 廉价", "可口": "美味 鲜美", "方便": "便利 省事", "差": "拙劣 低劣",
    "糟糕": "恶劣 可怕", "难看": "丑陋 刺眼", "脏": "肮脏 污秽", "无聊": "乏味 枯燥", "吵": "嘈杂 喧闹",
    "贵": "昂贵 高价", "麻烦": "繁琐 费事", "难受": "痛苦 难熬", "很": "十分 相当", "真": "实在 确实",
    "非常": "极其 格外",
    "good": "decent splendid", "nice": "pleasant agreeable", "great": "superb excellent", "fine": "delightful pleasing",
    "clean": "spotless tidy", "fresh": "crisp new", "lovely": "charming adorable", "cheap": "affordable inexpensive",
    "quick": "prompt rapid", "bad": "lousy terrible", "poor": "shoddy inferior", "awful": "dreadful horrible",
    "dirty": "filthy grimy", "dull": "tedious boring", "rude": "impolite insolent", "noisy": "loud deafening",
    "slow": "sluggish tardy", "stale": "mouldy rotten", "very": "highly awfully", "really": "truly indeed",
    "so": "extremely terribly"}.items()}


# ---- names in sentences


def made_names(n: int, seed: int, language: str = "both", part: str = TRAIN) -> list[Tagged]:
    """n sentences with the tags of their words, which in Chinese are characters; no two with names are the same.

    language   zh, en, or both, of which each is as likely
    part       whose names: TRAIN, VAL or TEST
    """
    rng = np.random.default_rng([seed, (TRAIN, VAL, TEST).index(part)])
    drawn = different(lambda: sentence(rng, chosen(rng, language), part), lambda made: set(made.tags) != {"O"})
    return list(islice(drawn, n))


def sentence(rng: Rng, language: str, part: str) -> Tagged:
    """A template with names in its places."""
    template = one_of(rng, ZH_SENTENCES if language == "zh" else EN_SENTENCES)
    words, entities = list[str](), list[Entity]()
    for piece in template.replace("{", "\n{").replace("}", "}\n").split("\n"):
        start, its_type = len(words), piece.strip("{}")
        text = name_of(rng, its_type, language, part) if piece[:1] == "{" else piece
        words += text if language == "zh" else text.split()
        if piece[:1] == "{":
            entities.append(Entity(its_type, start, len(words)))
    return Tagged(words, tags_of(entities, len(words)))


def name_of(rng: Rng, its_type: str, language: str, part: str) -> str:
    """A name of a type, and of a part."""
    makers = {"PER": (zh_person, en_person), "LOC": (zh_place, en_place), "ORG": (zh_organisation, en_organisation)}
    make = makers[its_type][language == "en"]
    while True:
        name = make(rng)
        if part_of(name) == part:
            return name


def zh_person(rng: Rng) -> str:
    return one_of(rng, SURNAMES) + "".join(one_of(rng, GIVEN) for _ in range(1 + int(rng.random() < 0.7)))


def zh_place(rng: Rng) -> str:
    if rng.random() < LISTED:
        return one_of(rng, ZH_PLACES)
    return one_of(rng, ZH_PARTS) + one_of(rng, ZH_PARTS) * bool(rng.random() < LONGER) + one_of(rng, ZH_ENDS)


def zh_organisation(rng: Rng) -> str:
    return (zh_place(rng) if rng.random() < 0.7 else one_of(rng, ZH_FIRMS)) + one_of(rng, ZH_KINDS)


def en_person(rng: Rng) -> str:
    first, last = one_of(rng, FIRST), en_family(rng)
    return (f"{first} {last}", f"{first[0]} . {last}", last)[int(rng.choice(3, p=[0.7, 0.1, 0.2]))]


def en_family(rng: Rng) -> str:
    return one_of(rng, LAST) if rng.random() < LISTED else one_of(rng, EN_PARTS) + one_of(rng, EN_ENDS)


def en_place(rng: Rng) -> str:
    if rng.random() < LISTED:
        return one_of(rng, EN_PLACES)
    return f"{one_of(rng, EN_FIRSTS)} " * bool(rng.random() < LONGER) + one_of(rng, EN_PARTS) + one_of(rng, EN_ENDS)


def en_organisation(rng: Rng) -> str:
    if rng.random() < 0.6:
        return one_of(rng, EN_KINDS).format(en_place(rng))
    return one_of(rng, EN_FIRMS).format(en_family(rng), en_family(rng))


# ---- opinions


def made_opinions(n: int, seed: int, language: str = "both", part: str = TRAIN) -> list[Classified]:
    """n opinions with their labels, pos or neg, each as likely; no two are the same.  The arguments as for made_names.
    """
    rng = np.random.default_rng([seed, (TRAIN, VAL, TEST).index(part)])
    return list(islice(different(lambda: opinion(rng, chosen(rng, language), part)), n))


def opinion(rng: Rng, language: str, part: str) -> Classified:
    """One clause, or two that contradict each other: the last one says what is meant."""
    good, two = bool(rng.random() < 0.5), bool(rng.random() < 0.6)
    clause = zh_clause if language == "zh" else en_clause
    clauses = [clause(rng, good is not first, part) for first in ([True, False] if two else [False])]
    between, end = ("，但是", "。") if language == "zh" else (" , but ", " .")
    return Classified(between.join(clauses) + end, None, ["pos" if good else "neg"])


def zh_clause(rng: Rng, good: bool, part: str) -> str:
    thing, turned = thing_of(rng, ZH_THINGS, part), bool(rng.random() < 0.4)
    word = one_of(rng, ZH_GOOD if good is not turned else ZH_BAD)
    return f"{thing}{'并不' if turned else one_of(rng, ('很', '真', '非常'))}{word}"


def en_clause(rng: Rng, good: bool, part: str) -> str:
    thing, turned = thing_of(rng, EN_THINGS, part), bool(rng.random() < 0.4)
    word = one_of(rng, EN_GOOD if good is not turned else EN_BAD)
    return f"the {thing} was {'not' if turned else one_of(rng, ('very', 'really', 'so'))} {word}"


def thing_of(rng: Rng, things: Sequence[str], part: str) -> str:
    return one_of(rng, [thing for thing in things if part_of(thing) == part])


# ---- what both need


def part_of(name: str) -> str:
    """Which part a name or a thing belongs to: it depends on what it is called alone."""
    return {0: TEST, 1: VAL}.get(zlib.crc32(name.encode()) % ONE_OF, TRAIN)


def one_of(rng: Rng, things: Sequence[str]) -> str:
    return things[int(rng.integers(len(things)))]


def chosen(rng: Rng, language: str) -> str:
    return one_of(rng, LANGUAGES[:2]) if language == "both" else language


def different(make: Callable[[], Any], once: Callable[[Any], bool] = lambda thing: True) -> Iterator[Any]:
    """What is made, again and again, without what was there before, if it is to come once."""
    seen = set()
    while True:
        thing = make()
        if not once(thing):
            yield thing
        elif (key := str(thing)) not in seen:
            seen.add(key)
            yield thing
