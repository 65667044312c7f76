"""asyncssh: exact ends, half-closed streams, files with OpenSSH's extensions, forwards of ports and sockets."""

import asyncio
import os
import tempfile

import asyncssh

import reach

directory = os.environ["DIR"]


async def commands(connection):
    for command in ("exit 0", "exit 200", "kill -TERM $$", "kill -KILL $$", "kill -USR2 $$", "kill -STKFLT $$"):
        done = await connection.run(command)
        print(command, "|", done.exit_status, done.exit_signal)
    done = await connection.run("cat; echo err >&2", input="given")
    print(repr(done.stdout), repr(done.stderr))
    done = await connection.run("stty size; echo $TERM $LC_X", term_type="xterm", term_size=(111, 22, 1110, 220), env={"LC_X": "y"})
    print(repr(done.stdout))
    process = await connection.create_process("cat > /dev/null; echo input ended; exec >&-; sleep 0.3; exit 9")
    process.stdin.write_eof()
    print(await process.stdout.read(), (await process.wait()).exit_status)


async def files(connection):
    async with connection.start_sftp_client() as sftp:
        data = os.urandom(2_000_000)
        async with sftp.open(f"{directory}/a", "wb") as file:
            await file.write(data)
            await file.fsync()
            space = await file.statvfs()
            print("space", space.bsize > 0, space.namemax)
        async with sftp.open(f"{directory}/a", "rb") as file:
            print("same", await file.read() == data)
        await sftp.link(f"{directory}/a", f"{directory}/hard")
        await sftp.symlink("a", f"{directory}/soft")
        await sftp.setstat(f"{directory}/soft", asyncssh.SFTPAttrs(atime=5, mtime=6), follow_symlinks=False)
        print((await sftp.lstat(f"{directory}/soft")).mtime, (await sftp.stat(f"{directory}/a")).size)
        async with sftp.open(f"{directory}/b", "wb") as file:
            await file.write(b"second")
        await sftp.posix_rename(f"{directory}/b", f"{directory}/a")
        async with sftp.open(f"{directory}/a", "rb") as file:
            print(await file.read(), os.stat(f"{directory}/hard").st_nlink)
        print((await sftp.statvfs(directory)).frsize > 0, sftp.limits.max_packet_len, sftp.limits.max_read_len, sftp.limits.max_write_len)
        print(sorted(await sftp.listdir(directory)))
        await sftp.setstat(f"{directory}/a", asyncssh.SFTPAttrs(size=3, permissions=0o640))
        print(os.stat(f"{directory}/a").st_size, oct(os.stat(f"{directory}/a").st_mode))
        for name, attempt in (("rename", sftp.rename(f"{directory}/a", f"{directory}/hard")), ("stat", sftp.stat(f"{directory}/no/where"))):
            try:
                await attempt
                print(name, "worked")
            except asyncssh.SFTPError as error:
                print(name, type(error).__name__, error.code)


async def answer(reader, writer):
    writer.write(b"heard " + await reader.read())
    writer.write_eof()
    await writer.drain()
    writer.close()


async def asked(streams, text):
    reader, writer = streams
    writer.write(text)
    writer.write_eof()
    found = await reader.read()
    writer.close()
    return found


async def forwards(connection):
    # The path of a socket has little room.
    with tempfile.TemporaryDirectory() as short:
        service = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = service.sockets[0].getsockname()[1]
        await asyncio.start_unix_server(answer, f"{short}/service")
        print(await asked(await connection.open_connection("localhost", port, encoding=None), b"tcp"))
        print(await asked(await connection.open_unix_connection(f"{short}/service", encoding=None), b"unix"))
        listener = await connection.forward_remote_port("localhost", 0, "127.0.0.1", port)
        print(await asked(await asyncio.open_connection("127.0.0.1", listener.get_port()), b"remote tcp"))
        listener.close()
        await listener.wait_closed()
        listener = await connection.forward_remote_path(f"{short}/remote", f"{short}/service")
        print(await asked(await asyncio.open_unix_connection(f"{short}/remote"), b"remote unix"))
        listener.close()
        await listener.wait_closed()
        for name, attempt in (
            ("port", connection.open_connection("127.0.0.1", 1)),
            ("socket", connection.open_unix_connection(f"{short}/nothing")),
        ):
            try:
                await attempt
                print(name, "opened")
            except asyncssh.ChannelOpenError as error:
                print(name, error.code)


async def main():
    async with reach.asyncssh_client() as connection:
        await commands(connection)
        await files(connection)
        await forwards(connection)
        channels = await asyncio.gather(*(connection.run(f"sleep 0.2; echo {number}") for number in range(30)))
        print(sum(int(done.stdout) for done in channels))


asyncio.run(main())
