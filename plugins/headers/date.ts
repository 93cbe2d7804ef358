/** The `Date:` field (RFC 5322 §3.3, and §4.3's obsolete forms), strictly: the runtime's own reading takes `foo 1` for a date. */

const months = "jan feb mar apr may jun jul aug sep oct nov dec".split(" ");

/** Zones that have a name, in hours (§4.3); any other is taken as -0000. */
const zones: Readonly<Record<string, number>> = {
  ut: 0,
  utc: 0,
  gmt: 0,
  z: 0,
  est: -5,
  edt: -4,
  cst: -6,
  cdt: -5,
  mst: -7,
  mdt: -6,
  pst: -8,
  pdt: -7,
};

const form =
  /^(?:(?:mon|tue|wed|thu|fri|sat|sun) ?, ?)?([0-9]{1,2}) ([a-z]{3}) ([0-9]{2,4}) ([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?(?: ([+-][0-9]{4}|[a-z]{1,5}))?$/;

/** Milliseconds since 1970; `undefined` where the field's value is no date. */
export function readDate(value: string): number | undefined {
  const text = value.slice(0, 200).replace(/\([^()]*\)/g, " ").replace(/\s+/g, " ").trim().toLowerCase();
  const found = form.exec(text);
  if (!found) return undefined;
  const [, day, name, year, hour, minute, second = "0", zone = "gmt"] = found;
  const month = months.indexOf(name!);
  const numbers = [day, hour, minute, second].map(Number) as [number, number, number, number];
  const [d, h, min, s] = numbers;
  if (month < 0 || d < 1 || d > 31 || h > 23 || min > 59 || s > 60) return undefined;
  return Date.UTC(wholeYear(year!), month, d, h, min, s) - offset(zone) * 60_000;
}

/** Two and three digits as §4.3 reads them. */
function wholeYear(year: string): number {
  const number = Number(year);
  if (year.length === 4) return number;
  return number + (year.length === 2 && number < 50 ? 2000 : 1900);
}

/** In minutes. */
function offset(zone: string): number {
  if (!/^[+-]/.test(zone)) return (zones[zone] ?? 0) * 60;
  const minutes = Number(zone.slice(1, 3)) * 60 + Number(zone.slice(3));
  return zone.startsWith("-") ? -minutes : minutes;
}
