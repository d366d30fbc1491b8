"""Something that happens: saving one is what django-webhook tells the world of."""

from django.db import models


class Fact(models.Model):
    """`data` is what stands in the body that is sent."""

    type = models.CharField(max_length=100)
    data = models.JSONField(default=dict)

    class Meta:
        app_label = "peer_site"

    def __str__(self) -> str:
        return self.type
