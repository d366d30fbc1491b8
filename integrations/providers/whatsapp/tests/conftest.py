from __future__ import annotations

import pytest

from integrations.providers.whatsapp.tests.support import RecordingHttp


@pytest.fixture
def http() -> RecordingHttp:
    return RecordingHttp()
