"""Scoped reads, guarded writes, and composite foreign keys beneath: a row can't be tied to another tenant's."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.db import IntegrityError, connection, models, transaction
from django_scopes import scope, scopes_disabled
from django_scopes.exceptions import ScopeError

from integrations.models import CallLog, Config, PrimaryConfig, QueueItem, Tenant
from integrations.models.base import ForeignWrite, TenantOwned, tenant_relations
from payments.models import Operation
from tests.admin.rows import make_payment
from tests.factories import make_config, make_item, make_log

OWNED = [model for model in apps.get_models() if issubclass(model, TenantOwned)]
RELATIONS = tenant_relations(apps.get_models())
pytestmark = pytest.mark.django_db


def test_there_is_something_to_test() -> None:
    assert len(OWNED) >= 20
    assert len(RELATIONS) >= 15
    assert ("payments_operation", "payment_id", "payments_payment") in RELATIONS


# --- reading


@pytest.mark.parametrize("model", OWNED, ids=lambda model: model._meta.label)
def test_reading_without_a_scope_raises(model: type[TenantOwned]) -> None:
    with pytest.raises(ScopeError):
        model.objects.count()


@pytest.mark.parametrize("model", OWNED, ids=lambda model: model._meta.label)
def test_a_scope_shows_its_own_rows_alone(model: type[TenantOwned], tenant: Tenant) -> None:
    with scope(tenant=tenant):
        sql = str(model.objects.all().query)
    assert f'"tenant_id" = {tenant.pk}' in sql


def test_rows_of_two_tenants_are_kept_apart(tenant: Tenant, other_tenant: Tenant) -> None:
    mine, foreign = make_item(tenant), make_item(other_tenant)
    with scope(tenant=tenant):
        assert list(QueueItem.objects.all()) == [mine]
        assert not QueueItem.objects.filter(pk=foreign.pk).exists()
    with scope(tenant=[tenant, other_tenant]):
        assert set(QueueItem.objects.all()) == {mine, foreign}
    with scopes_disabled():
        assert QueueItem.objects.count() == 2
    assert QueueItem.unscoped.count() == 2


# --- writing


def test_another_tenants_row_is_not_written_within_a_scope(tenant: Tenant, other_tenant: Tenant) -> None:
    foreign = make_item(other_tenant)
    foreign.last_error = "changed"
    with scope(tenant=tenant):
        with pytest.raises(ForeignWrite):
            foreign.save()
        with pytest.raises(ForeignWrite):
            foreign.delete()
        with pytest.raises(ForeignWrite):
            QueueItem.unscoped.create(tenant=other_tenant, kind="sample")
    kept = QueueItem.unscoped.get()
    assert (kept.pk, kept.last_error) == (foreign.pk, "")


def test_a_row_does_not_point_at_another_tenants(tenant: Tenant, other_tenant: Tenant) -> None:
    foreign = make_config(other_tenant, "mpesa")
    with pytest.raises(ForeignWrite):
        PrimaryConfig(tenant=tenant, category="payment", config=foreign).save()
    assert PrimaryConfig.unscoped.filter(tenant=tenant).count() == 0


def test_without_a_scope_the_runtime_writes_for_every_tenant(tenant: Tenant, other_tenant: Tenant) -> None:
    for each in (tenant, other_tenant):
        item = make_item(each)
        item.last_error = "x"
        item.save()
    assert QueueItem.unscoped.filter(last_error="x").count() == 2


# --- the database itself


def constraints() -> set[tuple[str, str, str]]:
    """Return (table, column, referenced table) of each composite foreign key `(tenant_id, column) -> (tenant_id, id)`."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT c.conrelid::regclass::text, c.confrelid::regclass::text,
                   (SELECT array_agg(a.attname::text ORDER BY k.n) FROM unnest(c.conkey) WITH ORDINALITY k(att, n)
                      JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.att),
                   (SELECT array_agg(a.attname::text ORDER BY k.n) FROM unnest(c.confkey) WITH ORDINALITY k(att, n)
                      JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.att)
              FROM pg_constraint c WHERE c.contype = 'f' AND cardinality(c.conkey) = 2 AND c.convalidated
            """
        )
        rows = cursor.fetchall()
    return {
        (table.strip('"'), columns[1], referenced.strip('"'))
        for table, referenced, columns, targets in rows
        if columns[0] == "tenant_id" and targets == ["tenant_id", "id"]
    }


@pytest.mark.parametrize("relation", RELATIONS, ids=lambda relation: f"{relation[0]}.{relation[1]}")
def test_each_relation_has_its_composite_foreign_key(relation: tuple[str, str, str]) -> None:
    assert relation in constraints()


def primary_key(model: type[models.Model]) -> str:
    return model._meta.pk.column


def test_the_referenced_key_is_always_id() -> None:
    for model in OWNED:
        assert primary_key(model) == "id", model


def check_now(statement: str, values: list[Any]) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement, values)
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


def test_a_raw_update_can_not_tie_a_row_to_another_tenants(tenant: Tenant, other_tenant: Tenant) -> None:
    mine, foreign = make_config(tenant, "mpesa"), make_config(other_tenant, "mpesa")
    log, item = make_log(tenant, config=mine), make_item(tenant, config=mine)
    payment, foreign_payment = make_payment(tenant), make_payment(other_tenant)
    operation = Operation.unscoped.get(payment=payment)
    attempts = [
        ("UPDATE integrations_calllog SET config_id = %s WHERE id = %s", [foreign.pk, log.pk]),
        ("UPDATE integrations_queueitem SET config_id = %s WHERE id = %s", [foreign.pk, item.pk]),
        ("UPDATE integrations_config SET tenant_id = %s WHERE id = %s", [other_tenant.pk, mine.pk]),
        ("UPDATE payments_payment SET config_id = %s WHERE id = %s", [foreign.pk, payment.pk]),
        ("UPDATE payments_operation SET payment_id = %s WHERE id = %s", [foreign_payment.pk, operation.pk]),
    ]
    for statement, values in attempts:
        with pytest.raises(IntegrityError, match="violates foreign key constraint"):
            check_now(statement, values)
    assert CallLog.unscoped.get(pk=log.pk).config_id == mine.pk
    assert Config.unscoped.get(pk=mine.pk).tenant_id == tenant.pk


def test_a_bulk_write_past_the_guard_is_refused_too(tenant: Tenant, other_tenant: Tenant) -> None:
    foreign = make_config(other_tenant, "mpesa")
    row = PrimaryConfig(tenant=tenant, category="payment", config_id=foreign.pk)

    def write() -> None:
        with transaction.atomic():
            PrimaryConfig.unscoped.bulk_create([row])
            with connection.cursor() as cursor:
                cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")

    with pytest.raises(IntegrityError):
        write()
    assert PrimaryConfig.unscoped.filter(tenant=tenant).count() == 0
