"""
The original guide of live health, word for word: its clients with the token and the port replaced, and nothing else. The snippets
below are copies of that document.
"""
import importlib
import json
import sys

from harness import equal, test, wait_until
from live import Live, person

reference = importlib.import_module("90_quick_reference")
Lines, node_command = reference.Lines, reference.node_command

JAVASCRIPT = """\
// Connect to health WebSocket
const ws = new WebSocket('ws://localhost:8000/ws/health');

// Authenticate
ws.onopen = function() {
    ws.send(JSON.stringify({
        type: 'authenticate',
        token: 'your_jwt_token_here'
    }));
};

// Handle messages
ws.onmessage = function(event) {
    const message = JSON.parse(event.data);

    switch(message.type) {
        case 'health_update':
            console.log('Health update:', message.data);
            break;
        case 'notification':
            console.log('Notification:', message.notification);
            break;
        case 'heartbeat':
            console.log('Heartbeat received');
            break;
    }
};

// Handle errors
ws.onerror = function(error) {
    console.error('WebSocket error:', error);
};

// Handle disconnection
ws.onclose = function(event) {
    console.log('WebSocket closed:', event.code, event.reason);
};
"""

PYTHON = """\
import asyncio
import websockets
import json

async def health_websocket_client():
    uri = "ws://localhost:8000/ws/health"

    async with websockets.connect(uri) as websocket:
        # Authenticate
        auth_message = {
            "type": "authenticate",
            "token": "your_jwt_token_here"
        }
        await websocket.send(json.dumps(auth_message))

        # Subscribe to health updates
        subscribe_message = {
            "type": "subscribe",
            "subscription": "health_updates"
        }
        await websocket.send(json.dumps(subscribe_message))

        # Listen for messages
        async for message in websocket:
            data = json.loads(message)
            print(f"Received: {data}")

# Run client
asyncio.run(health_websocket_client())
"""

STATUS = "curl http://localhost:8000/ws/status"
CONNECTION = "curl http://localhost:8000/ws/connection/{connection_id}/health"

# The guide's messages, as they stand there.
HEALTH_UPDATE = '{"type": "health_update", "data": {"metric": "blood_pressure", "value": 120, "unit": "mmHg", "timestamp": "2024-01-01T00:00:00Z"}}'


def here(text, server, token):
    return text.replace("localhost:8000", f"localhost:{server.port}").replace("your_jwt_token_here", token)


def reading(s, user):
    body = {"user_id": user, "metric": "blood_pressure", "value": 120, "unit": "mmHg"}
    return s.api.post("/ws/broadcast-health-update", body, s.service()).want(200)


@test("live health's guide: the JavaScript client gets health updates and heartbeats, and is told why it is closed")
def _(s):
    command, before = node_command()
    user = person(s)
    with s.node(TIDINGS_HEARTBEAT=1) as node, s.web(node) as web:
        client = Lines([*command, before + here(JAVASCRIPT, web, s.token(user))])
        try:
            client.wait("Heartbeat received")
            wait_until(lambda: reading(s, user)["clients_notified"] == 1, "the client to be subscribed")
            client.wait("Health update:")
            client.wait("blood_pressure")
            equal("WebSocket error" in client.text, False, f"an error: {client.text}")
        finally:
            client.child.kill()
            client.child.wait()
        client = Lines([*command, before + here(JAVASCRIPT, web, s.token(user, ttl=-1))])
        try:
            client.wait("WebSocket closed: 1008 token expired")
        finally:
            client.child.kill()
            client.child.wait()


@test("live health's guide: the Python client, which subscribes before it has read an answer")
def _(s):
    user = person(s)
    client = Lines([sys.executable, "-u", "-c", here(PYTHON, s.web1, s.token(user))])
    try:
        client.wait("'type': 'connection_established'")
        client.wait("'type': 'authenticated'")
        client.wait("'subscription': 'health_updates'")
        equal(reading(s, user)["clients_notified"], 1, "clients_notified")
        client.wait("'type': 'health_update'")
        equal("'type': 'error'" in client.text, False, f"an error: {client.text}")
    finally:
        client.child.kill()
        client.child.wait()


@test("live health's guide: its messages, its status and the health of a connection have the members that it shows")
def _(s):
    user = person(s)
    with Live(s, s.web1, user=user) as live, Live(s, s.web1, user=user) as other:
        live.client.send(HEALTH_UPDATE)
        equal(live.until("health_update_stored")["data"]["metric"], "blood_pressure", "stored")
        m = other.until("health_update")
        equal({k: m["data"][k] for k in ("metric", "value", "unit")}, {"metric": "blood_pressure", "value": 120, "unit": "mmHg"}, "data")
        status = json.loads(reference.shell(s, STATUS))
        assert {"status", "active_connections", "total_connections", "users_online", "subscriptions", "timestamp"} <= set(status), status
        assert set(status["subscriptions"]) == {"health_updates", "chat", "notifications"} and status["subscriptions"]["health_updates"] >= 2, status
        command = CONNECTION.replace("{connection_id}", live.id) + f" -H 'Authorization: Bearer {s.token(user)}'"
        got = json.loads(reference.shell(s, command))
        equal(got["connection_id"], live.id, "connection_id")
        assert {"state", "user_id", "connected_at", "last_activity", "retry_count", "recovery_attempts", "subscriptions", "is_healthy"} <= set(got["health"]), got
        equal((got["health"]["state"], got["health"]["subscriptions"], got["health"]["is_healthy"]), ("authenticated", ["health_updates"], True), "health")
