/** Counters with labels that cost no more than looks into maps: what a monitor is told is put together when it asks. */
import { Counter, type Registry } from "prom-client";

interface Cell<L extends string> {
  readonly labels: Record<L, string>;
  /** Since somebody asked. */
  count: number;
}

/** By the first label's value, by the second's, by the third's: no key has to be made of them. */
type Cells<L extends string> = Map<string, Map<string, Map<string, Cell<L>>>>;

/** One counter. */
export class Tally<L extends string> {
  readonly #names: readonly L[];
  readonly #counter: Counter<L>;
  readonly #cells: Cells<L> = new Map();

  constructor(name: string, help: string, names: readonly L[], registry: Registry) {
    this.#names = names;
    const collect = () => this.#flush();
    this.#counter = new Counter({ name, help, labelNames: [...names], registers: [registry], collect });
  }

  /** Counts one. Values are given in the order of their names; those that aren't needed are left out. */
  add(first: string, second = "", third = ""): void {
    const cell = this.#cells.get(first)?.get(second)?.get(third);
    if (cell) cell.count++;
    else this.#begin(first, second, third);
  }

  /** Ends the series whose label `name` has this value. */
  remove(name: L, value: string): void {
    for (const [third, cells, { labels }] of this.#all()) {
      if (labels[name] !== value) continue;
      cells.delete(third);
      this.#counter.remove(labels);
    }
  }

  #begin(first: string, second: string, third: string): void {
    let seconds = this.#cells.get(first);
    if (!seconds) this.#cells.set(first, seconds = new Map());
    let thirds = seconds.get(second);
    if (!thirds) seconds.set(second, thirds = new Map());
    const values = [first, second, third];
    const labels = Object.fromEntries(this.#names.map((name, i) => [name, values[i]!])) as Record<L, string>;
    thirds.set(third, { labels, count: 1 });
  }

  #flush(): void {
    for (const [, , cell] of this.#all()) {
      if (cell.count > 0) this.#counter.inc(cell.labels, cell.count);
      cell.count = 0;
    }
  }

  *#all(): Generator<[third: string, cells: Map<string, Cell<L>>, cell: Cell<L>]> {
    for (const seconds of this.#cells.values()) {
      for (const thirds of seconds.values()) {
        for (const [third, cell] of thirds) yield [third, thirds, cell];
      }
    }
  }
}
