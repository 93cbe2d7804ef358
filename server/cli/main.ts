/** The command line (DESIGN §5): one file a command; what they print and their exit codes are fixed interfaces. */
import { Command, CommanderError, Option } from "commander";
import { version } from "../version.ts";
import { check } from "./check.ts";
import { dkimKeygen, dkimRecords } from "./dkim.ts";
import type { Cli, ExitCode } from "./io.ts";
import { systemCli } from "./io.ts";
import { newPlugin } from "./new.ts";
import { addExplainCommand } from "./explain_command.ts";
import { addObserveCommands } from "./observe_command.ts";
import { backup } from "./backup.ts";
import { addQueueCommands, systemQueueIo } from "./queue_command.ts";
import { schema } from "./schema.ts";
import { serve } from "./serve.ts";
import { trackCommand, type TrackOptions } from "./track.ts";
import { type UserAction, userCommand } from "./user.ts";

/**
 * Runs one command.
 *
 * @param args The arguments behind the program's name.
 * @returns The exit code: 0, 1 failed, 2 usage or configuration.
 */
export async function main(args: readonly string[], cli: Cli = systemCli): Promise<ExitCode> {
  let code: ExitCode = 0;
  const program = makeProgram(cli, (given) => code = given);
  try {
    await program.parseAsync(args, { from: "user" });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    cli.stderr.write(`postrider: ${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  }
}

const configOption = () => new Option("-c, --config <file>", "the configuration").makeOptionMandatory();

function makeProgram(cli: Cli, exit: (code: ExitCode) => void): Command {
  const program = new Command("postrider")
    .description("A programmable mail server.")
    .version(version)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => cli.stdout.write(text),
      writeErr: (text) => cli.stderr.write(text),
    })
    .showHelpAfterError("(postrider --help tells what there is)");
  // Subcommands take over what is set above only when made by `command`.
  program.command("serve").description("run the server in the foreground")
    .addOption(configOption())
    .option("--watch", "reload when the configuration, a plugin or what it imports is saved")
    .action(async ({ config, watch }) => exit(await serve(config, { watch: watch === true }, cli)));
  program.command("check").description("check the configuration and its plugins")
    .addOption(configOption())
    .option("--hooks", "show who is asked at each hook, in order")
    .action(async ({ config, hooks }) => exit(await check(config, { hooks: hooks === true }, cli)));
  program.command("schema").description("print the JSON Schema of the configuration, for editors")
    .action(async () => exit(await schema(cli)));
  program.command("new").description("begin something")
    .command("plugin <name>").description("write a plugin, its test, and say how to use it")
    .option("--dir <folder>", "where its files go", ".")
    .action(async (name: string, { dir }: { dir: string }) => exit(await newPlugin(name, dir, cli)));
  addExplainCommand(
    program.command("explain").description("a dry run: what each plugin says, and the replies"),
    cli,
    exit,
  );
  addObserveCommands(
    program.command("observe").description("what plugins under `observe: true` would do"),
    cli,
    exit,
  );
  program.command("track <text>").description("show what became of a message")
    .addOption(configOption())
    .option("--since <when>", "received then or later: 36h, 7d, 2026-11-21T17:00Z")
    .option("--limit <count>", "at most so many messages, the newest (default: 20)")
    .option("--json", "for scripts")
    .addHelpText("after", "\nTEXT is a queue id, a Message-ID, or the address of a sender or recipient.")
    .action(async (text: string, options: Omit<TrackOptions, "text">) =>
      exit(await trackCommand({ ...options, text }, systemQueueIo(cli)))
    );
  addUserCommands(program.command("user").description("manage who may log in"), cli, exit);
  addDkimCommands(program.command("dkim").description("keys that sign mail"), cli, exit);
  program.command("backup <directory>").description("copy the state directory, also of a running server")
    .addOption(configOption())
    .action(async (directory, { config }) => exit(await backup(config, directory, systemQueueIo(cli))));
  addQueueCommands(program.command("queue").description("look into the queue, and change it"), cli, exit);
  return program;
}

function addUserCommands(user: Command, cli: Cli, exit: (code: ExitCode) => void): void {
  const actions: [UserAction, string][] = [
    ["add", "add an account"],
    ["passwd", "change an account's password"],
    ["remove", "remove an account"],
    ["list", "list the accounts"],
  ];
  for (const [action, description] of actions) {
    const command = user.command(action === "list" ? action : `${action} <address>`).description(description)
      .addOption(configOption())
      .option("--as <name>", "which `auth` plugin's users, where there are several");
    if (action === "add" || action === "passwd") {
      command.option("--password-stdin", "read the password from standard input");
    }
    command.action(async (...given: unknown[]) => {
      const address = action === "list" ? undefined : given[0] as string;
      const options = command.opts<{ config: string; as?: string; passwordStdin?: boolean }>();
      exit(await userCommand(action, { ...options, address }, cli));
    });
  }
}

function addDkimCommands(dkim: Command, cli: Cli, exit: (code: ExitCode) => void): void {
  dkim.command("keygen [domain] [selector]").description("make a key, or all that a configuration names")
    .option("-c, --config <file>", "the configuration that names the keys")
    .addOption(new Option("--type <type>", "what kind of key").choices(["rsa", "ed25519"]).default("rsa"))
    .option("--out <file>", "where the key is written to; default: SELECTOR._domainkey.DOMAIN.pem")
    .action(async (domain: string | undefined, selector: string | undefined, options) =>
      exit(await dkimKeygen({ ...options, domain, selector }, cli))
    );
  dkim.command("records").description("print the DNS records of a configuration's keys")
    .addOption(configOption())
    .action(async ({ config }) => exit(await dkimRecords({ config }, cli)));
}
