/**
 * A file that an operator changes while the server runs: read at load, and again when it has changed. Shared by the plugins
 * that have one.
 */
import type { Host } from "../server/plugin.ts";

/** What the file says now. A value where it is not yet time to look at the file again, else a promise of one. */
export interface FollowedFile<T> {
  current(): T | Promise<T>;
}

/** How often the file is looked at, in milliseconds. */
const interval = 1000;

/**
 * Reads the file now, and again whenever it has changed: it is looked at once a second at most, and only when asked
 * for. A change that can't be read is logged, and the last good content stays in force; so it does when the file is gone.
 *
 * @param file Absolute path.
 * @param read Turns its text into what the plugin works with.
 * @param absent What holds until there is such a file; without it, a file missing at load is an error.
 * @throws {Error} when the file can't be read at load.
 */
export async function followFile<T>(
  file: string,
  read: (text: string) => T | Promise<T>,
  { clock, log }: Pick<Host, "clock" | "log">,
  absent?: T,
): Promise<FollowedFile<T>> {
  const load = async () => await read(await Deno.readTextFile(file));
  const missing = (error: unknown) => absent !== undefined && error instanceof Deno.errors.NotFound;

  let seen = await version(file);
  let looked = clock.now();
  let looking: Promise<T> | undefined;
  let value: T;
  try {
    value = await load();
  } catch (error) {
    if (!missing(error)) throw error;
    value = absent!;
    log.warning("file is missing", { file });
  }

  let emptied: string | undefined;

  async function look(): Promise<T> {
    const now = await version(file);
    if (now.state === seen.state) return value;
    // Whoever writes it in place leaves a moment in which nothing stands there: all mail of that moment would be refused.
    if (now.size === 0 && emptied !== now.state) {
      emptied = now.state;
      return value;
    }
    emptied = undefined;
    seen = now;
    try {
      value = await load();
      log.info("file read again", { file });
    } catch (error) {
      log.error("file can't be read, its last good content stays in force", { file, error: String(error) });
    }
    return value;
  }

  return {
    current() {
      if (looking) return looking;
      const age = clock.now() - looked;
      if (age >= 0 && age < interval) return value; // a negative age: the clock was set back
      looked = clock.now();
      looking = look().finally(() => looking = undefined);
      return looking;
    },
  };
}

/** Changes when the file does, also when another takes its place within the same tick of the file system's clock. */
async function version(file: string): Promise<{ readonly state: string; readonly size?: number }> {
  try {
    const { mtime, ctime, size, ino } = await Deno.stat(file);
    return { state: `${mtime?.getTime()} ${ctime?.getTime()} ${size} ${ino}`, size };
  } catch (error) {
    return { state: String(error) };
  }
}
