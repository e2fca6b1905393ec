#!/usr/bin/python3
"""A list that stays live, with Django (3.2 or newer) and psycopg2, in one file: see README.md."""
import base64
import binascii
import hashlib
import json
import os
import pathlib
import secrets
import sys

import django
from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.db import DataError, IntegrityError, connection, models, transaction
from django.http import HttpResponse, JsonResponse
from django.urls import path
from psycopg2.extensions import parse_dsn
from tidings import Key, sql

TIDINGS_URL = os.environ.get("TIDINGS_URL", "http://localhost:8000")
KEY = Key.load(os.environ.get("TIDINGS_KEY", "/etc/tidings/jwt/default.HS256"))
PAGE = (pathlib.Path(__file__).parents[1] / "page.html").read_text().replace("{tidings}", TIDINGS_URL)
DATABASE = parse_dsn(os.environ.get("DATABASE", "dbname=tidings user=lists_app"))

settings.configure(
    ROOT_URLCONF=__name__, SECRET_KEY=secrets.token_hex(), ALLOWED_HOSTS=["localhost", "127.0.0.1"], USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": DATABASE.pop("dbname"), "OPTIONS": DATABASE}})
django.setup()


class Person(models.Model):
    name = models.TextField()
    password_hash = models.TextField()

    class Meta:
        app_label, managed, db_table = "lists", False, '"lists"."person"'


class Member(models.Model):
    list_id = models.IntegerField()
    person_id = models.IntegerField(primary_key=True)

    class Meta:
        app_label, managed, db_table = "lists", False, '"lists"."member"'


class Item(models.Model):
    list_id = models.IntegerField()
    text = models.TextField()

    class Meta:
        app_label, managed, db_table = "lists", False, '"lists"."item"'


def signed_in(request):
    """The person, or None. Your own way of signing in goes here."""
    kind, _, credentials = request.headers.get("Authorization", "").partition(" ")
    try:
        name, _, password = base64.b64decode(credentials if kind == "Basic" else "").decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    found = None if "\0" in name else Person.objects.filter(name=name).first()
    if found and secrets.compare_digest(found.password_hash, hashlib.sha256(password.encode()).hexdigest()):
        return found.id
    return None


def for_people(view):
    def checked(request, list_id=None):
        who = signed_in(request)
        if who is None:
            return HttpResponse(status=401, headers={"WWW-Authenticate": "Basic"})
        if list_id is not None and not Member.objects.filter(list_id=list_id, person_id=who).exists():
            return HttpResponse(status=403)
        return view(request, who if list_id is None else list_id)

    return checked


@for_people
def page(request, who):
    return HttpResponse(PAGE)


@for_people
def token(request, who):
    """For the page: what it may hear is this person's."""
    return JsonResponse({"token": KEY.token(who, ttl=600)})


@for_people
def items(request, list_id):
    return JsonResponse({"items": list(Item.objects.filter(list_id=list_id).order_by("id").values("id", "text"))})


@for_people
def add(request, list_id):
    """The item and its message: both, or neither."""
    # JSON alone: a form of another site's page cannot send it.
    if request.method != "POST" or request.content_type != "application/json":
        return HttpResponse(status=405 if request.method != "POST" else 415)
    try:
        text = str(json.loads(request.body)["text"]).strip()
    except (ValueError, KeyError, TypeError):
        return HttpResponse(status=400)
    try:
        with transaction.atomic():
            item = Item.objects.create(list_id=list_id, text=text)
            sql.publish(connection, f"lists/{list_id}", "item_added", {"id": item.id, "text": text})
    except (IntegrityError, DataError, ValueError):
        return JsonResponse({"detail": "An item has a text, of characters."}, status=422)
    return JsonResponse({"id": item.id, "text": text}, status=201)


urlpatterns = [path("", page), path("token", token), path("lists/<int:list_id>", items), path("lists/<int:list_id>/items", add)]
application = get_wsgi_application()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
