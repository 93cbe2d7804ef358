/** Plots of what was measured over time, as SVG: panels one above the other, on one axis of time. */

/** A line in a panel. */
export interface Series {
  readonly name: string;
  /** Of the line, as SVG has colours. */
  readonly color: string;
  /** Minutes, and the value. */
  readonly points: readonly (readonly [minutes: number, value: number])[];
}

/** One scale, from 0. */
export interface Panel {
  readonly title: string;
  readonly series: readonly Series[];
}

const width = 900;
const panelHeight = 170;
const margin = { left: 62, right: 20, top: 34, bottom: 30 };

/** Draws them. @param title Above all of them. */
export function plot(title: string, panels: readonly Panel[]): string {
  const height = 40 + panels.length * (panelHeight + margin.top) + margin.bottom;
  const all = panels.flatMap(({ series }) => series.flatMap(({ points }) => points.map(([x]) => x)));
  const end = Math.max(...all, 0.001);
  const x = (minutes: number) => margin.left + minutes / end * (width - margin.left - margin.right);
  const parts = panels.map((panel, nth) =>
    drawn(panel, 40 + margin.top + nth * (panelHeight + margin.top), x)
  );
  const bottom = height - margin.bottom;
  const times = ticks(end).map((minutes) =>
    `<text x="${n(x(minutes))}" y="${bottom + 12}" text-anchor="middle">${minutes}</text>`
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    `<text x="${margin.left}" y="26" font-size="16" font-weight="bold">${escaped(title)}</text>`,
    ...parts,
    ...times,
    `<text x="${width - margin.right}" y="${bottom + 27}" text-anchor="end">minutes</text>`,
    "</svg>",
    "",
  ].join("\n");
}

function drawn({ title, series }: Panel, top: number, x: (minutes: number) => number): string {
  const most = Math.max(...series.flatMap(({ points }) => points.map(([, value]) => value)), 0.001);
  const scale = ticks(most * 1.05);
  const highest = Math.max(most * 1.05, scale.at(-1)!);
  const y = (value: number) => top + panelHeight * (1 - value / highest);
  const lines = [`<text x="${margin.left}" y="${top - 8}" font-weight="bold">${escaped(title)}</text>`];
  for (const value of scale) {
    lines.push(
      `<line x1="${margin.left}" x2="${width - margin.right}" y1="${n(y(value))}" y2="${
        n(y(value))
      }" stroke="#ddd"/>`,
      `<text x="${margin.left - 6}" y="${n(y(value) + 4)}" text-anchor="end">${value}</text>`,
    );
  }
  for (const [nth, { name, color, points }] of series.entries()) {
    const path = points.map(([minutes, value]) => `${n(x(minutes))},${n(y(value))}`).join(" ");
    lines.push(
      `<polyline points="${path}" fill="none" stroke="${color}" stroke-width="1.5"/>`,
      `<text x="${width - margin.right - nth * 110}" y="${top - 8}" text-anchor="end" fill="${color}">${
        escaped(name)
      }</text>`,
    );
  }
  return lines.join("\n");
}

/** Round numbers from 0 up to a value: three to seven of them. */
export function ticks(most: number): number[] {
  const rough = most / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough)!;
  const count = Math.floor(most / step + 1e-9);
  return Array.from({ length: count + 1 }, (_, i) => Number((i * step).toPrecision(12)));
}

const n = (value: number) => value.toFixed(1);
const escaped = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
