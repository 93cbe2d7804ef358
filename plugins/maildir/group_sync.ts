/** One fsync for many: whoever comes while one runs shares the next. */
export class GroupSync {
  readonly #sync: () => Promise<void>;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  /** @param sync Makes everything durable that was done before it was called. */
  constructor(sync: () => Promise<void>) {
    this.#sync = sync;
  }

  /**
   * Resolves when a sync that began after this call is done. One that already runs does not count: it may have
   * passed the place where our change stands.
   *
   * @throws what the sync threw; everyone who shared it is told.
   */
  done(): Promise<void> {
    if (!this.#running) return this.#start();
    return this.#next ??= this.#running.then(() => this.#start(), () => this.#start());
  }

  #start(): Promise<void> {
    this.#next = undefined;
    const run = this.#sync();
    this.#running = run;
    const over = () => {
      if (this.#running === run && !this.#next) this.#running = undefined;
    };
    run.then(over, over);
    return run;
  }
}
