/** Sockets that systemd opened and passed on (sd_listen_fds(3)): low ports without ever being root, and no connection lost in a restart. */
import { ListenError } from "./opening.ts";

/** A socket that was passed to this process. */
export interface PassedSocket {
  /** `FileDescriptorName=` of its socket unit; by default the unit's name. Several may have the same. */
  readonly name: string;
  readonly fd: number;
}

/** SD_LISTEN_FDS_START. */
const first = 3;

/**
 * The sockets that were passed to this process; none where they were another one's: the environment is inherited, `LISTEN_PID` says
 * whose it was.
 */
export function passedSockets(
  env: { get(name: string): string | undefined } = Deno.env,
  pid: number = Deno.pid,
): readonly PassedSocket[] {
  const count = env.get("LISTEN_FDS") ?? "";
  if (env.get("LISTEN_PID") !== String(pid) || !/^[0-9]{1,4}$/.test(count)) return [];
  const names = env.get("LISTEN_FDNAMES")?.split(":") ?? [];
  return Array.from({ length: Number(count) }, (_, i) => ({ name: names[i] || "unknown", fd: first + i }));
}

/** Those of this name. @throws {ListenError} where there is none. */
export function socketsNamed(name: string, passed: readonly PassedSocket[]): readonly number[] {
  const found = passed.filter((one) => one.name === name);
  if (found.length > 0) return found.map(({ fd }) => fd);
  const others = [...new Set(passed.map((one) => one.name))].join(", ");
  throw new ListenError(
    others === ""
      ? `systemd passed no socket to this process: start it by a socket unit, with FileDescriptorName=${name}, or give ` +
        "`listen:` a `port`."
      : `systemd passed no socket called "${name}", only ${others}: correct \`systemd\` in \`listen:\`, or ` +
        "FileDescriptorName= in the socket unit.",
  );
}

/** Commands that this process runs don't get the socket: else it would stay open in them. @throws {ListenError} */
export function keepFromChildren(fd: number): void {
  const [setFlags, closeOnExec] = [2, 1];
  try {
    const library = Deno.dlopen("libc.so.6", { fcntl: { parameters: ["i32", "i32", "i32"], result: "i32" } });
    const done = library.symbols.fcntl(fd, setFlags, closeOnExec);
    library.close();
    if (done === 0) return;
  } catch (error) {
    throw new ListenError(`a socket of systemd can't be used: ${(error as Error).message}`, { cause: error });
  }
  throw new ListenError(`systemd's descriptor ${fd} is not open: is it this process that it was passed to?`);
}
