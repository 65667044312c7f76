"""asyncssh: signals to a command. A `sshd` that root logs in to has none of them, so this is for a workspace alone."""

import asyncio

import reach


async def main():
    async with reach.asyncssh_client() as connection:
        for signal in ("INT", "TERM", "USR1", "KILL"):
            process = await connection.create_process("trap 'exit 5' USR1; echo up; while :; do sleep 0.05; done")
            await process.stdout.readline()
            process.send_signal(signal)
            done = await process.wait()
            print(signal, done.exit_status, done.exit_signal and done.exit_signal[0])


asyncio.run(main())
