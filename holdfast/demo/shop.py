"""A made-up shop as the four CSV files an import takes: the same seed and day give the same bytes.

Its customers live in twenty-odd countries and write their names in many scripts, some oddly; they order at
their own pace and some stop, so that every lifecycle stage occurs. All addresses end in reserved domains.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from operator import itemgetter
from pathlib import Path

HISTORY = timedelta(days=730)

_CUSTOMER_COLUMNS = (
    "customer_id", "email", "first_name", "last_name", "locale", "timezone", "country", "city", "birthday",
    "phone", "telegram", "consent.email", "consent.sms", "consent.telegram", "tier", "newsletter_topic",
    "open_complaint", "store_credit",
)  # fmt: skip
_ORDER_COLUMNS = ("order_id", "customer_id", "ordered_at", "total", "currency", "status")
_LINE_COLUMNS = ("order_id", "sku", "name", "category", "quantity", "unit_price")
_EVENT_COLUMNS = ("event_id", "customer_id", "event", "occurred_at", "sku", "category", "device")


@dataclass(frozen=True, slots=True)
class _Market:
    """Where customers come from: `share` of them, relative to the other markets."""

    share: int
    country: str
    timezone: str
    locale: str
    calling_code: str
    cities: tuple[str, ...]
    first_names: tuple[str, ...]
    last_names: tuple[str, ...]


def _market(share: int, place: str, cities: str, first_names: str, last_names: str) -> _Market:
    country, timezone, locale, calling_code = place.split()
    names = (tuple(text.split(", ")) for text in (cities, first_names, last_names))
    return _Market(share, country, timezone, locale, calling_code, *names)


_MARKETS = (
    _market(20, "DE Europe/Berlin de 49", "Berlin, Köln, München, Görlitz",
            "Anna, Jürgen, Zoë, Lukas, Käthe, Björn",
            "Müller, Weiß, Schröder, von der Heide, Özdemir"),
    _market(12, "GB Europe/London en-GB 44", "London, Leeds, Cardiff",
            "Olivia, Harry, Siân, Noah, Amelia",
            "Smith, O'Brien, Okafor, Llewellyn, Patel"),
    _market(10, "FR Europe/Paris fr 33", "Paris, Lyon, Saint-Étienne",
            "Chloé, Léo, Françoise, Noël, Inès",
            "Lefèvre, D'Aubigné, Martin, Garçon"),
    _market(9, "EG Africa/Cairo ar-EG 20", "القاهرة, الإسكندرية, الجيزة",
            "محمد, فاطمة, أحمد, نور, عبد الله",
            "حسن, السيد, عبد الرحمن, إبراهيم"),
    _market(4, "SA Asia/Riyadh ar 966", "الرياض, جدة",
            "خالد, سارة, ريم, فيصل",
            "العتيبي, الحربي, القحطاني"),
    _market(7, "IR Asia/Tehran fa 98", "تهران, اصفهان, شیراز",
            "علی, زهرا, رضا, مریم, امیر‌حسین",
            "محمدی, حسینی, کریمی, نوری‌زاده"),
    _market(5, "GR Europe/Athens el 30", "Αθήνα, Θεσσαλονίκη",
            "Γιώργος, Ελένη, Νίκος, Σοφία",
            "Παπαδόπουλος, Νικολάου, Γεωργίου"),
    _market(4, "UA Europe/Kyiv uk 380", "Київ, Львів, Одеса",
            "Олена, Андрій, Юлія, Дмитро",
            "Шевченко, Коваленко, Бойко"),
    _market(3, "BG Europe/Sofia bg 359", "София, Пловдив",
            "Иван, Мария, Георги",
            "Иванов, Петрова, Димитров"),
    _market(4, "CN Asia/Shanghai zh-Hans-CN 86", "上海, 北京, 成都",
            "伟, 芳, 秀英, 磊",
            "王, 李, 张, 欧阳"),
    _market(4, "JP Asia/Tokyo ja 81", "東京, 大阪, 京都",
            "さくら, 翔太, 陽菜, ケンジ",
            "佐藤, 鈴木, 髙橋"),
    _market(3, "KR Asia/Seoul ko 82", "서울, 부산",
            "지우, 민준, 서연",
            "김, 이, 박"),
    _market(4, "IN Asia/Kolkata hi 91", "दिल्ली, मुंबई",
            "आरव, प्रिया, अदिति, रोहन",
            "शर्मा, सिंह, गुप्ता"),
    _market(2, "IL Asia/Jerusalem he 972", "תל אביב, חיפה",
            "נועה, דוד, תמר",
            "כהן, לוי, מזרחי"),
    _market(2, "TH Asia/Bangkok th 66", "กรุงเทพฯ, เชียงใหม่",
            "สมชาย, มาลี",
            "ใจดี, แสงทอง"),
    _market(4, "TR Europe/Istanbul tr 90", "İstanbul, İzmir",
            "İrem, Şükrü, Ayşe, Çağla",
            "Yılmaz, Öztürk, Işık"),
    _market(3, "BR America/Sao_Paulo pt-BR 55", "São Paulo, Olinda",
            "João, Conceição, Luísa",
            "da Silva, Gonçalves, Araújo"),
    _market(3, "ES Europe/Madrid es 34", "Madrid, Cádiz",
            "Íñigo, Begoña, María José",
            "Núñez, García, Ibáñez"),
    _market(2, "US America/New_York en-US 1", "New York, Boston",
            "Mia, Liam, Ava",
            "Johnson, Nguyen, Garcia"),
    _market(1, "US America/Los_Angeles en-US 1", "Los Angeles, Portland",
            "Ethan, Zoe",
            "Williams, Kim"),
    _market(1, "NP Asia/Kathmandu ne 977", "काठमाडौं",
            "सुनिता, बिबेक",
            "थापा, गुरुङ"),
)  # fmt: skip

# What real tables hold beside names; a message to these must come out safe and sensible.
_ODD_NAMES = (
    "<script>alert(1)</script>",
    "{{ config }}",
    "{% raw %}",
    'Robert"); DROP TABLE customers;--',
    '=HYPERLINK("https://shop.example")',
    "Ann\nBcc: everyone@shop.example",
    "\N{RIGHT-TO-LEFT OVERRIDE}nnA",
    "Zalgo\N{COMBINING GRAVE ACCENT}\N{COMBINING TILDE}\N{COMBINING DIAERESIS}",
    "\N{FAMILY}\N{ZERO WIDTH JOINER}\N{SPARKLES}",
    "&amp;",
    "N/A",
    "x" * 180,
)

_PRODUCTS = (
    ("tea", "Earl Grey, loose", 890), ("tea", "Sencha", 1250),
    ("tea", "Rooibos & Orange", 790), ("tea", "Darjeeling “First Flush”", 1890),
    ("coffee", "Espresso No. 4", 1390), ("coffee", "Yirgacheffe", 1590),
    ("coffee", "Decaf <mild>", 1290), ("chocolate", "Dark 80 %", 450),
    ("chocolate", "Crème brûlée bar", 520), ("chocolate", "Ruby box of 12", 1990),
    ("cups", "Cup “Küste”", 1450), ("cups", "Teapot, cast iron", 6900),
    ("cups", "Travel mug", 2490), ("books", "The Tea Atlas", 3200),
    ("books", "Slow Mornings", 1800), ("gifts", "Gift card", 2500),
    ("gifts", "Hamper, large", 8900),
)  # fmt: skip

_STATUSES = ("completed",) * 90 + ("shipped",) * 4 + ("refunded",) * 3 + ("cancelled",) * 2 + ("test",)
_EVENTS = ("viewed_product",) * 12 + ("added_to_cart",) * 4 + ("opened_app",) * 3 + ("wrote_review",)


@dataclass(frozen=True, slots=True)
class ShopFiles:
    """Where the files are, in the order they are imported."""

    customers: Path
    orders: Path
    lines: Path
    events: Path


def write_shop(folder: Path, *, customers: int = 5000, seed: int = 1, today: date) -> ShopFiles:
    """Writes the four files: about five orders a customer over the two years before `today`. Currency EUR."""
    folder.mkdir(parents=True, exist_ok=True)
    files = ShopFiles(*(folder / f"{name}.csv" for name in ("customers", "orders", "lines", "events")))
    chance = random.Random(seed)  # noqa: S311 - a made-up shop
    midnight = datetime.combine(today, time(), UTC)

    _write(
        files.customers, _CUSTOMER_COLUMNS, (_customer(chance, number, today) for number in range(customers))
    )
    orders: list[tuple[str, ...]] = []
    lines: list[tuple[object, ...]] = []
    events: list[tuple[str, ...]] = []
    for number in range(customers):
        for ordered_at in _order_times(chance, number, midnight):
            order_id = f"R{100_000 + len(orders)}"
            basket = list(_basket(chance, order_id))
            total = sum(quantity * price for *_, quantity, price in basket)
            lines += [(*line[:-1], _euros(line[-1])) for line in basket]
            orders.append(
                (order_id, _id(number), _iso(ordered_at), _euros(total), "EUR", chance.choice(_STATUSES))
            )
        for occurred_at in _event_times(chance, midnight):
            article = chance.randrange(len(_PRODUCTS))
            what, device = chance.choice(_EVENTS), chance.choice(("phone", "desktop"))
            category = _PRODUCTS[article][0]
            events.append(
                (
                    f"E{len(events)}",
                    _id(number),
                    what,
                    _iso(occurred_at),
                    f"SKU{article:03}",
                    category,
                    device,
                )
            )
    # As a shop's export has them: by time, not by customer.
    orders.sort(key=itemgetter(2))
    events.sort(key=itemgetter(3))
    _write(files.orders, _ORDER_COLUMNS, orders)
    _write(files.lines, _LINE_COLUMNS, lines)
    _write(files.events, _EVENT_COLUMNS, events)
    return files


def _customer(chance: random.Random, number: int, today: date) -> Sequence[object]:
    market = chance.choices(_MARKETS, [market.share for market in _MARKETS])[0]
    first_name: str = chance.choice(market.first_names)
    if chance.random() < 0.06:
        first_name = ""
    elif number % 250 == 7:
        first_name = _ODD_NAMES[number // 250 % len(_ODD_NAMES)]
    born = today - timedelta(days=chance.randrange(18 * 365, 80 * 365))
    return (
        _id(number),
        # Some households share a mailbox.
        f"c{number - (number % 100 == 99)}@customers.example" if chance.random() < 0.96 else "",
        first_name,
        chance.choice(market.last_names) if chance.random() < 0.97 else "",
        market.locale if chance.random() < 0.93 else "",
        market.timezone if chance.random() < 0.95 else "",
        market.country,
        chance.choice(market.cities),
        born.isoformat() if chance.random() < 0.6 else "",
        f"+{market.calling_code}555{number:07}" if chance.random() < 0.5 else "",
        str(700_000_000 + number) if chance.random() < 0.25 else "",
        _consent(chance, 0.78, 0.12),
        _consent(chance, 0.3, 0.3),
        _consent(chance, 0.25, 0.1),
        chance.choices(("bronze", "silver", "gold"), (70, 22, 8))[0],
        chance.choice(("tea", "coffee", "chocolate", "")),
        chance.choices(("false", "true"), (98, 2))[0],
        f"{chance.randrange(0, 5000) / 100:.2f}" if chance.random() < 0.2 else "",
    )


def _consent(chance: random.Random, given: float, refused: float) -> str:
    return chance.choices(("yes", "no", ""), (given, refused, 1 - given - refused))[0]


def _order_times(chance: random.Random, number: int, midnight: datetime) -> Iterator[datetime]:
    """Orders at the customer's own pace, from the first one until the customer stops, or never does."""
    if number % 20 == 3:
        return
    newcomer = number % 10 == 1
    age = chance.uniform(0, 28) if newcomer else chance.uniform(30, HISTORY.days)
    pace = chance.lognormvariate(4.0, 0.9)
    keeps_coming = chance.random() < 0.45
    stops_after = age if keeps_coming else chance.expovariate(1 / 200)
    passed = 0.0
    while passed < age and passed <= stops_after:
        yield midnight - timedelta(days=age - passed)
        pause = chance.expovariate(1 / pace) + 1
        # Some go quiet for most of a year and come back.
        passed += pause + (chance.uniform(190, 320) if chance.random() < 0.03 else 0)


def _event_times(chance: random.Random, midnight: datetime) -> Iterable[datetime]:
    return [midnight - timedelta(days=chance.expovariate(1 / 60)) for _ in range(chance.randrange(5))]


def _basket(chance: random.Random, order_id: str) -> Iterator[tuple[str, str, str, str, int, int]]:
    """Lines, without two of one article: order, sku, name, category, quantity, price in cents."""
    for article in chance.sample(range(len(_PRODUCTS)), chance.choices((1, 2, 3, 4), (55, 28, 12, 5))[0]):
        category, name, price = _PRODUCTS[article]
        yield order_id, f"SKU{article:03}", name, category, chance.choices((1, 2, 3), (80, 15, 5))[0], price


def _id(number: int) -> str:
    return f"C{number:06}"


def _euros(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02}"


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
