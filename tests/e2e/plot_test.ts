import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import { plot, ticks } from "./plot.ts";

Deno.test("a plot's scale has round numbers, a few of them, and none beyond the value", () => {
  deepEqual(ticks(10), [0, 2, 4, 6, 8, 10]);
  deepEqual(ticks(0.7), [0, 0.2, 0.4, 0.6]);
  deepEqual(ticks(232), [0, 50, 100, 150, 200]);
});

Deno.test("a plot draws each point where its value is, inside the picture, and escapes its texts", () => {
  const points = [[0, 0], [5, 100], [10, 50]] as const;
  const svg = plot("a < b", [{ title: "x & y", series: [{ name: "x", color: "red", points }] }]);
  ok(svg.includes("a &lt; b") && svg.includes("x &amp; y"));
  const drawn = /<polyline points="([^"]+)"/.exec(svg)![1]!.split(" ").map((pair) =>
    pair.split(",").map(Number)
  );
  equal(drawn.length, 3);
  const [first, highest, last] = drawn as [number[], number[], number[]];
  ok(first[0]! < highest[0]! && highest[0]! < last[0]!);
  ok(highest[1]! < last[1]! && last[1]! < first[1]!, "upwards is more");
  const [, width, height] = /viewBox="0 0 (\d+) (\d+)"/.exec(svg)!.map(Number);
  ok(drawn.every(([x, y]) => x! >= 0 && x! <= width! && y! >= 0 && y! <= height!));
});
