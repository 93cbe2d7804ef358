/** What the tests of the configuration share: a file system of a few files, and a whole configuration to spoil. */
import { formatProblem, type Io, type ReadConfig, readConfig } from "../../server/config/read.ts";

const lines = {
  hostname: "hostname: mx.example.org",
  state: "state: state",
  listen: "listen: [{ port: 25 }]",
  plugins: "plugins: [discard]",
};

/** A good configuration of four lines with another text for some of them. */
export function but(other: Partial<typeof lines>): string {
  return Object.values({ ...lines, ...other }).join("\n");
}

/** A good configuration of four lines, and more from line 5 on. */
export function and(more: string): string {
  return `${but({})}\n${more}`;
}

const files: Record<string, string> = {
  "c.pem": "-----BEGIN CERTIFICATE-----\n",
  "k.pem": "-----BEGIN EC PRIVATE KEY-----\n",
};

/** Files and variables as the tests want them: the configuration is `x.yaml` in the working directory. */
export function world(text: string, env: Record<string, string> = {}): Io {
  return {
    env: (name) => env[name],
    readTextFile(path) {
      const name = path.split("/").at(-1)!;
      if (path === "x.yaml") return Promise.resolve(text);
      if (name === "folder") return Promise.reject(new Deno.errors.IsADirectory("is a directory"));
      if (name === "private.pem") return Promise.reject(new Deno.errors.PermissionDenied("EACCES"));
      const content = files[name];
      return content === undefined
        ? Promise.reject(new Deno.errors.NotFound("ENOENT"))
        : Promise.resolve(content);
    },
  };
}

/** Reads a configuration. */
export function read(text: string, env?: Record<string, string>): Promise<ReadConfig> {
  return readConfig("x.yaml", world(text, env));
}

/** Its problems, without the name of the file; FOLDER is the working directory. */
export async function problemsOf(text: string, env?: Record<string, string>): Promise<string[]> {
  return (await read(text, env)).problems.map((problem) =>
    formatProblem(problem).replace(/^x\.yaml:/, "").replace(Deno.cwd(), "FOLDER")
  );
}
