from __future__ import annotations

import pytest

from integrations.messaging.sms.segments import Segments, count_segments

GSM, UCS = "GSM-7", "UCS-2"


@pytest.mark.parametrize(
    ("text", "encoding", "units", "count", "remaining"),
    [
        ("", GSM, 0, 0, 160),
        ("a", GSM, 1, 1, 159),
        ("a" * 160, GSM, 160, 1, 0),
        ("a" * 161, GSM, 161, 2, 145),
        ("a" * 306, GSM, 306, 2, 0),
        ("a" * 307, GSM, 307, 3, 152),
        ("a" * 459, GSM, 459, 3, 0),
        ("a" * 460, GSM, 460, 4, 152),
        # Extension characters take two septets.
        ("€", GSM, 2, 1, 158),
        ("^{}\\[~]|€\f", GSM, 20, 1, 140),
        ("a" * 158 + "€", GSM, 160, 1, 0),
        ("a" * 159 + "€", GSM, 161, 2, 145),
        # The escape pair does not fit into the last septet of the first part: it moves on, and a septet stays empty.
        ("a" * 152 + "€" + "a" * 152, GSM, 306, 3, 152),
        ("a" * 151 + "€" + "a" * 153, GSM, 306, 2, 0),
        # The standard's own foreign letters stay GSM-7; near misses do not.
        ("@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ¤¡ÄÖÑÜ§¿äöñüà", GSM, 44, 1, 116),
        ("ç", UCS, 1, 1, 69),
        ("`", UCS, 1, 1, 69),
        ("\u2019", UCS, 1, 1, 69),
        ("\t", UCS, 1, 1, 69),
        ("é" * 160, GSM, 160, 1, 0),
        ("ĩ" * 70, UCS, 70, 1, 0),
        ("ĩ" * 71, UCS, 71, 2, 63),
        ("ĩ" * 134, UCS, 134, 2, 0),
        ("ĩ" * 135, UCS, 135, 3, 66),
        ("a" * 70 + "\u2019", UCS, 71, 2, 63),
        # Extension characters count once in UCS-2.
        ("€\u2019", UCS, 2, 1, 68),
        # An emoji is two UTF-16 units, and is not torn apart at the end of a part.
        ("😀", UCS, 2, 1, 68),
        ("😀" * 35, UCS, 70, 1, 0),
        ("😀" * 36, UCS, 72, 2, 61),
        ("a" * 66 + "😀" + "a" * 4, UCS, 72, 2, 61),
        ("a" * 65 + "😀" + "a" * 67, UCS, 134, 2, 0),
        ("a" * 66 + "😀" + "a" * 66, UCS, 134, 3, 66),
        ("👨‍👩‍👧", UCS, 8, 1, 62),
    ],
)
def test_vectors(text: str, encoding: str, units: int, count: int, remaining: int) -> None:
    counted = count_segments(text)
    assert (counted.encoding, counted.units, counted.count, counted.remaining) == (encoding, units, count, remaining)


def test_the_characters_that_force_ucs2_are_named_once_in_order() -> None:
    assert count_segments("Wanjikũ\u2019s “fee”, Wanjikũ") == Segments(UCS, 24, 1, 46, ("ũ", "\u2019", "“", "”"))
