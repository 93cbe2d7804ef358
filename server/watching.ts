/** `serve --watch`: reloads when the configuration, a plugin, or anything a plugin imports is saved. */
import { dirname, resolve } from "node:path";
import type { Clock } from "./clock.ts";
import { pathOf } from "./load/module.ts";
import { sourcesOf } from "./load/sources.ts";
import { read } from "./prepare.ts";

/** Milliseconds of silence after which a save is over: editors write a file in several steps. */
const silence = 100;

/** What is watched, and what for. */
export interface WatchingOptions {
  /** The configuration. */
  readonly file: string;
  /** What is to be done, once for each save. */
  readonly reload: () => Promise<unknown>;
  /** Told of what goes wrong later on. */
  readonly failed: (error: unknown) => void;
  readonly clock: Clock;
}

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
  readonly #failed: (error: unknown) => void;
  readonly #clock: Clock;
  #watched: Watched | undefined;
  #cancel: (() => void) | undefined;
  #reloading: Promise<void> = Promise.resolve();
  #isOver = false;

  private constructor({ file, reload, failed, clock }: WatchingOptions) {
    this.#file = resolve(file);
    this.#reload = reload;
    this.#failed = failed;
    this.#clock = clock;
  }

  /** Begins; once this resolves no change is missed. @throws {Error} when folders can't be watched. */
  static async start(options: WatchingOptions): Promise<Watching> {
    const watching = new Watching(options);
    await watching.#look();
    return watching;
  }

  /** How many files are watched. */
  get files(): number {
    return this.#watched?.files.size ?? 0;
  }

  /** Ends; a reload that is under way is not waited for. */
  stop(): void {
    this.#isOver = true;
    this.#cancel?.();
    this.#watched?.close();
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
    this.#follow(watcher).catch(this.#failed);
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
        await this.#look().catch(this.#failed); // what is watched already still is
        await this.#reload();
      }).catch(this.#failed);
    });
  }
}

async function existing(folders: readonly string[]): Promise<string[]> {
  const there = await Promise.all(folders.map((folder) => Deno.stat(folder).then(() => [folder], () => [])));
  return there.flat().sort();
}
