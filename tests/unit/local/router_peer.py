"""A worker for the router's tests: a real HTTP server on a unix socket that does what the path says and counts what it is asked.

python router_peer.py SOCKET NAME
"""

import asyncio
import json
import os
import sys

import uvloop

SEEN = {"requests": 0, "bodies": 0}


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            line, *fields = head.decode("latin-1").split("\r\n")[:-2]
            headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
            if headers.get("transfer-encoding") == "chunked":
                body = await chunks(reader)
            else:
                body = await reader.readexactly(int(headers.get("content-length", 0)))
            method, target, _ = line.split(" ")
            if not target.startswith("/seen"):
                SEEN["requests"] += 1
                SEEN["bodies"] += len(body)
            await respond(writer, method, target, headers, body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readline()).strip(), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readline()
    return body


async def respond(writer: asyncio.StreamWriter, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
    path, _, argument = target.partition("?")
    echoed = f"x-request-id: {headers.get('x-request-id', '')}\r\n".encode()
    match path:
        case "/seen":
            body = json.dumps(SEEN).encode()
        case "/headers":
            body = json.dumps(headers).encode()
        case "/status":
            writer.write(b"HTTP/1.1 %d Whatever\r\ncontent-length: 2\r\n%s\r\nno" % (int(argument), echoed))
            return
        case "/empty":
            writer.write(b"HTTP/1.1 %d Empty\r\n%s\r\n" % (int(argument), echoed))
            return
        case "/chunked":
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n%s\r\n" % echoed)
            for start in range(0, len(body), 1000):
                piece = body[start : start + 1000]
                writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                await writer.drain()
            writer.write(b"0\r\n\r\n")
            return
        case "/until-close":
            writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + body)
            writer.close()
            return
        case "/slow":
            await asyncio.sleep(float(argument))
        case "/die":
            os._exit(1)
        case "/garbage":
            writer.write(b"what?\r\n\r\n")
            return
        case "/large":
            body = b"x" * int(argument)
    length = len(body)
    writer.write(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%s\r\n" % (length, echoed)
        + (b"" if method == "HEAD" else body)
    )


async def main(path: str) -> None:
    server = await asyncio.start_unix_server(answer, path, limit=2**17)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    if os.path.exists(sys.argv[1]):
        os.unlink(sys.argv[1])
    uvloop.run(main(sys.argv[1]))
