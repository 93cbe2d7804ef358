/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />
/** Asks an SQLite database, in a thread of its own: `node:sqlite` holds up all else while it works. */
import { statSync } from "node:fs";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import type { Answer, Opening, Question } from "./sql.ts";

declare const self: DedicatedWorkerGlobalScope;

let opening: Opening;
let open:
  | { readonly database: DatabaseSync; readonly statement: StatementSync; readonly file: string }
  | undefined;

self.addEventListener("message", ({ data }: MessageEvent<Opening | Question>) => {
  if ("database" in data) opening = data;
  else self.postMessage(answer(data));
});

function answer(question: Question): Answer {
  const { id } = question;
  try {
    const statement = current(question.looks);
    return { id, kind: "rows", rows: question.kind === "open" ? [] : rowsOf(statement, question.values) };
  } catch (error) {
    open?.database.close();
    open = undefined;
    return { id, kind: "failed", error: error instanceof Error ? error.message : String(error) };
  }
}

/** The query on the file that is there now: who makes the database anew and moves it into place leaves us the old one. */
function current(looks: boolean): StatementSync {
  if (open && !looks) return open.statement;
  const { dev, ino } = statSync(opening.database);
  const file = `${dev} ${ino}`;
  if (open?.file === file) return open.statement;
  open?.database.close();
  open = undefined;
  const database = new DatabaseSync(opening.database, { readOnly: true, timeout: 5000 });
  try {
    const statement = database.prepare(opening.query);
    if (statement.columns().length === 0) throw new Error("the query is no SELECT");
    statement.setAllowUnknownNamedParameters(true); // it need not use them all
    statement.setReadBigInts(true); // the first column may be an id, and a larger one can't be read otherwise
    open = { database, statement, file };
    return statement;
  } catch (error) {
    database.close();
    throw error;
  }
}

function rowsOf(statement: StatementSync, values: Readonly<Record<string, string>>): (string | null)[] {
  const rows: (string | null)[] = [];
  for (const row of statement.iterate({ ...values })) {
    if (rows.length === opening.most) throw new Error(`more than ${opening.most} rows came`);
    const [first] = Object.values(row);
    rows.push(first === null || first === undefined ? null : String(first));
  }
  return rows;
}
