"""A list that stays live, with FastAPI and psycopg 3: see README.md."""
import hashlib
import os
import pathlib
import secrets

import psycopg
import psycopg.errors
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import HTMLResponse
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from pydantic import BaseModel
from tidings import Key, sql

DATABASE = os.environ.get("DATABASE", "dbname=tidings user=lists_app")
TIDINGS_URL = os.environ.get("TIDINGS_URL", "http://localhost:8000")
KEY = Key.load(os.environ.get("TIDINGS_KEY", "/etc/tidings/jwt/default.HS256"))
PAGE = (pathlib.Path(__file__).parents[1] / "page.html").read_text().replace("{tidings}", TIDINGS_URL)

app = FastAPI()


async def database():
    """One transaction for each request: committed when it went well."""
    async with await psycopg.AsyncConnection.connect(DATABASE) as connection:
        yield connection


async def person(basic: HTTPBasicCredentials = Depends(HTTPBasic()), db=Depends(database)):
    """Whoever is signed in. Your own way of signing in goes here."""
    name = basic.username.replace("\0", "")  # PostgreSQL has no such character
    row = await (await db.execute("SELECT id, password_hash FROM lists.person WHERE name = %s", [name])).fetchone()
    if not row or not secrets.compare_digest(row[1], hashlib.sha256(basic.password.encode()).hexdigest()):
        raise HTTPException(401, headers={"WWW-Authenticate": "Basic"})
    return row[0]


async def member(list_id: int, who: int = Depends(person), db=Depends(database)):
    if not await (await db.execute("SELECT 1 FROM lists.member WHERE list_id = %s AND person_id = %s", [list_id, who])).fetchone():
        raise HTTPException(403)
    return list_id


class NewItem(BaseModel):
    text: str


@app.get("/", response_class=HTMLResponse)
async def page(_: int = Depends(person)):
    return PAGE


@app.get("/token")
async def token(who: int = Depends(person)):
    """For the page: what it may hear is this person's."""
    return {"token": KEY.token(who, ttl=600)}


@app.get("/lists/{list_id}")
async def items(list_id: int = Depends(member), db=Depends(database)):
    rows = await (await db.execute("SELECT id, text FROM lists.item WHERE list_id = %s ORDER BY id", [list_id])).fetchall()
    return {"items": [{"id": id, "text": text} for id, text in rows]}


@app.post("/lists/{list_id}/items", status_code=201)
async def add(new: NewItem, list_id: int = Depends(member), db=Depends(database)):
    """The item and its message: both, or neither."""
    try:
        inserted = await db.execute("INSERT INTO lists.item (list_id, text) VALUES (%s, %s) RETURNING id", [list_id, new.text.strip()])
    except (psycopg.errors.CheckViolation, psycopg.DataError, UnicodeError):
        raise HTTPException(422, "An item has a text, of characters.") from None
    item = {"id": (await inserted.fetchone())[0], "text": new.text.strip()}
    await sql.publish_async(db, f"lists/{list_id}", "item_added", item)
    await db.commit()  # before the answer: what is behind database()'s yield comes after it
    return item
