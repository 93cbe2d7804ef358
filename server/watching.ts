/** `serve --watch`: reloads when the configuration, a plugin, or anything a plugin imports is saved. */
import { dirname, resolve } from "node:path";
import type { Clock } from "./clock.ts";
import { pathOf } from "./load/module.ts";
import { sourcesOf } from "./load/sources.ts";
import { read } from "./prepare.ts";

/** Milliseconds of silence after which a save is over: editors write a file in several steps. */
const silence = 100;

/** What is watched now. */
interface Watched {
  /** Those whose change counts; so does that of any YAML file beside them: users, aliases. */
  readonly files: ReadonlySet<string>;
  readonly folders: readonly string[];
  close(): void;
}

/** Watches the files that a server is made of. */
export class Watching {
  readonly #file: string;
  readonly #reload: () => Promise<unknown>;
  readonly #clock: Clock;
  #watched: Watched | undefined;
  #cancel: (() => void) | undefined;
  #reloading: Promise<void> = Promise.resolve();
  #isOver = false;

  private constructor(file: string, reload: () => Promise<unknown>, clock: Clock) {
    this.#file = resolve(file);
    this.#reload = reload;
    this.#clock = clock;
  }

  /**
   * Begins; once this resolves no change is missed.
   *
   * @param file The configuration.
   * @param reload What is to be done, once for each save.
   */
  static async start(file: string, reload: () => Promise<unknown>, clock: Clock): Promise<Watching> {
    const watching = new Watching(file, reload, clock);
    await watching.#look();
    return watching;
  }

  /** How many files are watched. */
  get files(): number {
    return this.#watched?.files.size ?? 0;
  }

  /** Ends, when a reload that is under way has ended. */
  async stop(): Promise<void> {
    this.#isOver = true;
    this.#cancel?.();
    this.#watched?.close();
    await this.#reloading;
  }

  /** Finds out what there is to watch; what is watched already goes on being watched where it can't be told. */
  async #look(): Promise<void> {
    const found = await read(this.#file);
    const plugins = found.kind === "read"
      ? found.config.plugins.flatMap(({ use }) => pathOf(use, found.source.folder) ?? [])
      : [];
    const before = found.kind === "read" ? [] : this.#watched?.files ?? [];
    const files = new Set([this.#file, ...before, ...await sourcesOf(plugins)]);
    const folders = await existing([...new Set([...files].map(dirname))]);
    if (this.#isOver) return;
    const old = this.#watched;
    if (old && folders.join("\n") === old.folders.join("\n")) {
      this.#watched = { ...old, files };
      return;
    }
    const watcher = Deno.watchFs(folders, { recursive: false }); // before the old one ends, so that nothing falls between
    this.#watched = { files, folders, close: () => watcher.close() };
    old?.close();
    this.#follow(watcher);
  }

  async #follow(watcher: Deno.FsWatcher): Promise<void> {
    for await (const { kind, paths } of watcher) {
      if (kind === "access" || kind === "other") continue; // a file is also read to be loaded
      const { files } = this.#watched!;
      if (paths.some((path) => files.has(path) || /\.ya?ml$/.test(path))) this.#changed();
    }
  }

  #changed(): void {
    this.#cancel?.();
    this.#cancel = this.#clock.after(silence, () => {
      this.#reloading = this.#reloading.then(async () => {
        if (this.#isOver) return;
        await this.#look();
        await this.#reload();
      });
    });
  }
}

async function existing(folders: readonly string[]): Promise<string[]> {
  const there = await Promise.all(folders.map((folder) => Deno.stat(folder).then(() => [folder], () => [])));
  return there.flat().sort();
}
