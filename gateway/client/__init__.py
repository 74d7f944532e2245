"""A client of the gateway: pictures in, typed labels out, with an account of where the time went.

    with Client("https://gateway.example.com", token="...") as client:
        print(client.classify("cat.jpg", model="mobilenet_v2").label)

Needs aiohttp and nothing of the server: importing this loads no other part of the package. Reference:
docs/reference/python-client.md
"""

from gateway.client.aio import AsyncClient
from gateway.client.errors import (
    BadAnswer,
    BadCall,
    BadPicture,
    Busy,
    CannotConnect,
    ClientError,
    ConnectionLost,
    NotAllowed,
    NotFound,
    ServerFailed,
    TimedOut,
)
from gateway.client.results import GroupAnswer, Outcome, Prediction, Result, Timing
from gateway.client.retry import Bounds
from gateway.client.sync import Client

__all__ = [
    "AsyncClient",
    "BadAnswer",
    "BadCall",
    "BadPicture",
    "Bounds",
    "Busy",
    "CannotConnect",
    "Client",
    "ClientError",
    "ConnectionLost",
    "GroupAnswer",
    "NotAllowed",
    "NotFound",
    "Outcome",
    "Prediction",
    "Result",
    "ServerFailed",
    "TimedOut",
    "Timing",
]
