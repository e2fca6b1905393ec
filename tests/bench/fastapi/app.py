"""Diagnosis updates as a FastAPI project has them: what tidings is measured beside.

One process, nothing durable: a ConnectionManager with a lock per diagnosis, a queue of 100 messages for each diagnosis that
nobody watches, JWTs checked by each route, owners looked up (in a dict, where a project asks its database).

    BENCH_JWT_KEY	file of the HS256 key
    BENCH_OWNER	owns all diagnoses

uvicorn app:app, with uvloop and httptools.
"""
import asyncio
import os
from collections import defaultdict
from datetime import datetime, timezone
from typing import Dict, List, Optional, Set

import jwt
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Query, WebSocket, WebSocketDisconnect
from pydantic import BaseModel

KEY = open(os.environ["BENCH_JWT_KEY"], "rb").read().strip()
OWNERS = {diagnosis_id: os.environ["BENCH_OWNER"] for diagnosis_id in range(1, 10001)}


class WebSocketMessage(BaseModel):
    type: str
    diagnosis_id: int
    data: dict
    timestamp: Optional[datetime] = None


class ConnectionManager:
    MAX_QUEUED_MESSAGES = 100

    def __init__(self):
        self.active_connections: Dict[int, Set[WebSocket]] = defaultdict(set)
        self.connection_users: Dict[int, Dict[WebSocket, str]] = defaultdict(dict)
        self.message_queue: Dict[int, List[WebSocketMessage]] = defaultdict(list)
        self.locks: Dict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def connect(self, diagnosis_id: int, user_id: str, websocket: WebSocket):
        await websocket.accept()
        async with self.locks[diagnosis_id]:
            self.active_connections[diagnosis_id].add(websocket)
            self.connection_users[diagnosis_id][websocket] = user_id
            welcome = WebSocketMessage(type="connect", diagnosis_id=diagnosis_id, data={
                "user_id": user_id, "timestamp": now().isoformat(),
                "message": "Successfully connected to diagnosis updates"})
            await websocket.send_text(welcome.json())
            await self._send_queued_messages(diagnosis_id, websocket)

    async def disconnect(self, diagnosis_id: int, websocket: WebSocket):
        async with self.locks[diagnosis_id]:
            self.active_connections[diagnosis_id].discard(websocket)
            self.connection_users[diagnosis_id].pop(websocket, None)

    async def broadcast(self, diagnosis_id: int, message: WebSocketMessage,
                        exclude_websocket: Optional[WebSocket] = None) -> int:
        message.timestamp = now()
        async with self.locks[diagnosis_id]:
            connections = self.active_connections[diagnosis_id]
            if not connections:
                queue = self.message_queue[diagnosis_id]
                queue.append(message)
                del queue[:-self.MAX_QUEUED_MESSAGES]
                return 0
            text = message.json()
            for websocket in list(connections):
                if websocket is exclude_websocket:
                    continue
                try:
                    await websocket.send_text(text)
                except Exception:
                    connections.discard(websocket)
            return len(connections)

    async def _send_queued_messages(self, diagnosis_id: int, websocket: WebSocket):
        queue = self.message_queue.pop(diagnosis_id, None)
        if queue:
            await websocket.send_text(WebSocketMessage(type="reconnect_messages", diagnosis_id=diagnosis_id, data={
                "messages": [message.dict() for message in queue]}).json())


manager = ConnectionManager()
router = APIRouter()


def now() -> datetime:
    return datetime.now(timezone.utc)


def user_of(token: str) -> Optional[str]:
    try:
        return jwt.decode(token, KEY, algorithms=["HS256"])["sub"]
    except (jwt.InvalidTokenError, KeyError):
        return None


async def get_current_user(authorization: str = Header("")) -> str:
    user_id = user_of(authorization[len("Bearer "):]) if authorization.startswith("Bearer ") else None
    if user_id is None:
        raise HTTPException(401, "Not authenticated")
    return user_id


def check_owner(diagnosis_id: int, user_id: str):
    if diagnosis_id not in OWNERS:
        raise HTTPException(404, "Diagnosis not found")
    if OWNERS[diagnosis_id] != user_id:
        raise HTTPException(403, "Access denied")


@router.websocket("/ws/{diagnosis_id}")
async def websocket_endpoint(websocket: WebSocket, diagnosis_id: int, token: Optional[str] = Query(None)):
    user_id = user_of(token or "")
    if user_id is None or OWNERS.get(diagnosis_id) != user_id:
        await websocket.close(code=1008)
        return
    await manager.connect(diagnosis_id, user_id, websocket)
    try:
        while True:
            if await websocket.receive_text() == "ping":
                await websocket.send_text(WebSocketMessage(type="pong", diagnosis_id=diagnosis_id, data={
                    "timestamp": now().isoformat()}).json())
    except WebSocketDisconnect:
        await manager.disconnect(diagnosis_id, websocket)


@router.get("/ws/status")
async def get_connection_status():
    return {"status": "healthy",
            "total_connections": sum(len(connections) for connections in manager.active_connections.values())}


async def send(diagnosis_id: int, type: str, data: dict):
    data["timestamp"] = now().isoformat()
    count = await manager.broadcast(diagnosis_id, WebSocketMessage(type=type, diagnosis_id=diagnosis_id, data=data))
    return {"status": "broadcasted", "diagnosis_id": diagnosis_id, "clients_notified": count}


@router.post("/ws/broadcast-recommendation-update")
async def broadcast_recommendation_update(data: dict, current_user: str = Depends(get_current_user)):
    check_owner(data["diagnosis_id"], current_user)
    old, new = data["old_data"], data["new_data"]
    return await send(data["diagnosis_id"], "recommendation_update", {
        "old_recommendation": old, "new_recommendation": new, "reason": data["reason"],
        "changed_fields": [key for key in {**new, **old} if old.get(key) != new.get(key)]})


@router.post("/ws/broadcast-effectiveness-update")
async def broadcast_effectiveness_update(data: dict, current_user: str = Depends(get_current_user)):
    check_owner(data["diagnosis_id"], current_user)
    if not 0 <= data["new_effectiveness"] <= 1:
        raise HTTPException(422, "new_effectiveness must be between 0 and 1")
    return await send(data["diagnosis_id"], "effectiveness_update", {
        key: data[key] for key in ("recommendation_id", "new_effectiveness", "confidence", "sample_size")})


@router.post("/ws/broadcast-feedback-update")
async def broadcast_feedback_update(data: dict, current_user: str = Depends(get_current_user)):
    check_owner(data["diagnosis_id"], current_user)
    if not 1 <= data["rating"] <= 5:
        raise HTTPException(422, "rating must be between 1 and 5")
    if not 0 <= data["effectiveness"] <= 1:
        raise HTTPException(422, "effectiveness must be between 0 and 1")
    return await send(data["diagnosis_id"], "feedback_update", {
        key: data[key] for key in ("feedback_id", "rating", "effectiveness", "comment") if key in data})


app = FastAPI()
app.include_router(router)
