"""Words and phrases by which a text is taken for a complaint, by language. A `*` stands for any ending.

All lists are looked through, whatever language a text is in: a word that is harmless in another of these
languages, as an Arabic swindle is an installation in Persian, stands here with the words around it.
"""

from __future__ import annotations

from collections.abc import Mapping

COMPLAINT_WORDS: Mapping[str, tuple[str, ...]] = {
    "en": (
        *("complain*", "refund*", "money back", "chargeback", "overcharged", "charged twice"),
        *("broken", "damaged", "defective", "faulty", "poor quality", "bad quality", "waste of money"),
        *("doesn't work", "does not work", "doesnt work", "didn't work", "not working", "stopped working"),
        *(
            "never arrived",
            "not arrived",
            "hasn't arrived",
            "hasnt arrived",
            "didn't arrive",
            "still waiting",
        ),
        *(
            "never received",
            "not received",
            "haven't received",
            "didn't receive",
            "is missing",
            "are missing",
        ),
        *("wrong item", "wrong items", "wrong order", "wrong size", "wrong product", "wrong parcel"),
        *("unacceptable", "disappointed", "disappointing", "unhappy", "not happy", "dissatisfied"),
        *("terrible", "awful", "horrible", "disgusting", "worst", "furious", "fed up", "rude", "never again"),
        *("scam", "scammed", "scammers", "rip off", "ripped off", "fraud", "lawyer", "legal action"),
        *("poor service", "bad service", "no reply", "no response", "nobody answers", "no one answers"),
    ),
    "de": (
        *("beschwer*", "reklam*", "geld zurück", "rückerstattung", "erstatten", "doppelt abgebucht"),
        *("zweimal abgebucht", "kaputt*", "defekt*", "beschädigt*", "mangelhaft*", "schlechte qualität"),
        *("funktioniert nicht", "funktionieren nicht", "schrott", "nicht angekommen", "nie angekommen"),
        *("nicht erhalten", "nie erhalten", "nicht geliefert", "nie geliefert", "noch nicht da"),
        *("warte immer noch", "warte noch immer", "fehlt", "fehlen", "falsche ware", "falscher artikel"),
        *("falschen artikel", "falsche größe", "falsches produkt", "falsche lieferung", "falsch geliefert"),
        *(
            "enttäusch*",
            "unzufrieden*",
            "unverschämt*",
            "frechheit",
            "verärgert",
            "ärgerlich",
            "inakzeptabel",
        ),
        *("katastroph*", "miserabel", "schlechter service", "unfreundlich*", "keine antwort", "nie wieder"),
        *("betrug", "betrüger", "abzocke", "anwalt", "verbraucherschutz", "verbraucherzentrale"),
    ),
    "ar": (
        *("شكوى", "شكواي", "شكاوى", "أشتكي", "نشتكي", "استرداد", "استرجاع", "فلوسي", "أموالي", "نقودي"),
        *("مكسور*", "معطل*", "معطوب*", "تالف*", "لا يعمل", "لا تعمل", "ما يشتغل", "ما بيشتغل", "مش شغال*"),
        *("لم يصل*", "لم تصل*", "ما وصل*", "لم أستلم*", "ما استلمت*", "ناقص*", "المنتج خطأ", "طلب خطأ"),
        *("سيئ*", "سيء", "أسوأ", "رديء*", "رديئ*", "محبط*", "خيبة أمل", "غير مقبول*", "غير راض*", "مستاء*"),
        *("غاضب*", "زعلان*", "نصاب*", "نصبوا علي*", "احتيال", "محتالون", "غش", "محامي", "حماية المستهلك"),
        *("لا أحد يرد", "محدش بيرد", "ما حد يرد", "لا يوجد رد", "لم يرد أحد"),
    ),
    "fa": (
        *("شکایت*", "شاکی*", "پولم را", "پولمو", "پول مرا", "بازگشت وجه", "برگشت پول", "استرداد"),
        *("خراب*", "شکسته*", "معیوب*", "آسیب دیده", "کار نمی‌کن*", "بی‌کیفیت*", "کیفیت پایین*", "کیفیت بد*"),
        *("نرسید*", "نیامده*", "نیومده*", "دریافت نکرد*", "هنوز منتظر*", "ناقص*", "اشتباه فرستاد*"),
        *("اشتباه ارسال", "اشتباهی فرستاد*", "اشتباه است", "اشتباه بود"),
        *("ناراضی*", "نارضایتی", "ناامید*", "افتضاح*", "بدترین", "غیرقابل قبول", "غیر قابل قبول", "عصبانی*"),
        *("کلاهبردار*", "کلاه‌برداری", "دزدی", "تقلبی*", "وکیل گرفت*", "تعزیرات", "حقوق مصرف‌کننده"),
        *("پاسخ نمی‌ده*", "جواب نمی‌ده*", "پاسخگو نیست*", "دیگر هرگز"),
    ),
}
