"""Pages for people who have logged in alone: which organisation, and the links that they hand out."""

from __future__ import annotations

from django import forms
from django.db.models import BooleanField, ExpressionWrapper
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from integrations.contracts import clock
from integrations.contracts.errors import InvalidRequest
from integrations.models import User
from webhooks.outbound.models import Endpoint, PortalLink
from webhooks.outbound.portal import links
from webhooks.outbound.portal.access import TENANT_KEY, Visitor, kept_private, show, tenants_of, to
from webhooks.outbound.portal.endpoints import ASKING, endpoint_of

ROWS = 50
SPANS = (("900", "15 minutes"), ("3600", "1 hour"), ("28800", "8 hours"), ("86400", "24 hours"))


class LinkForm(forms.Form):
    """A link to hand out."""

    label = forms.CharField(max_length=100, required=False, help_text="Who it is for.")
    endpoint = forms.ChoiceField(required=False, help_text="One endpoint alone, or all.")
    expires_in = forms.ChoiceField(choices=SPANS, initial="3600", label="Good for")
    can_write = forms.BooleanField(required=False, label="Its holder may change things, not only look")
    frame_ancestors = forms.CharField(
        required=False,
        label="Sites that may embed it",
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}),
        help_text="One origin on each line, such as https://app.example.com. Empty: none.",
    )

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, label_suffix="", **kwargs)  # type: ignore[arg-type]  # handed on as they came
        rows = Endpoint.objects.filter(deleted_at__isnull=True)
        self.fields["endpoint"].choices = [("", "all"), *((each.pk, str(each)) for each in rows)]  # type: ignore[attr-defined]

    def clean_frame_ancestors(self) -> list[str]:
        try:
            return [links.origin(each) for each in self.cleaned_data["frame_ancestors"].replace(",", " ").split()]
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error


@ASKING
def link_list(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """The links there are, and a form for another; its address is shown with the answer, this once."""
    form, address = LinkForm(request.POST or None), ""
    if request.method == "POST" and form.is_valid():
        asked = form.cleaned_data
        try:
            _link, token = links.create_link(
                tenant=visitor.tenant,
                created_by=visitor.name,
                label=asked["label"],
                endpoint=endpoint_of(visitor, asked["endpoint"]) if asked["endpoint"] else None,
                can_write=asked["can_write"],
                expires_in=int(asked["expires_in"]),
                frame_ancestors=asked["frame_ancestors"],
            )
        except InvalidRequest as error:
            form.add_error(error.attr if error.attr in form.fields else None, error.message)
        else:
            address, form = links.url_of(token), LinkForm()
    rows = PortalLink.objects.select_related("endpoint")
    context = {
        "form": form,
        "address": address,
        "rows": rows.annotate(works=ExpressionWrapper(links.are_good(), BooleanField()))[:ROWS],
        "now": clock.now(),
    }
    return show(request, visitor, "links.html", context, status=400 if form.errors else 200)


@require_POST
def revoke(request: HttpRequest, visitor: Visitor, link_id: str) -> HttpResponse:
    """Let a link open nothing any more."""
    links.revoke_link(link_id=link_id)
    return to(visitor, "links", done="revoked")


@ASKING
def pick_tenant(request: HttpRequest) -> HttpResponse:
    """Ask a person with several organisations for which one the next pages are."""
    if not isinstance(request.user, User):
        return redirect(f"{reverse('staff:login')}?next={reverse('portal:endpoints')}")
    tenants = tenants_of(request.user)
    target = request.POST.get("next") or request.GET.get("next") or ""
    if request.method == "POST" and request.POST.get("tenant") in tenants:
        request.session[TENANT_KEY] = request.POST["tenant"]
        safe = url_has_allowed_host_and_scheme(target, {request.get_host()}, require_https=request.is_secure())
        # Not back to a page about one row: that is the other organisation's.
        good = safe and target.startswith(reverse("portal:endpoints")) and "_" not in target.partition("?")[0]
        return HttpResponseRedirect(target if good else reverse("portal:endpoints"))
    context = {"tenants": tenants.values(), "picked": request.session.get(TENANT_KEY), "next": target}
    return kept_private(show(request, None, "tenant.html", context), "'none'")
