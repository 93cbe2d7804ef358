/** A login by SCRAM, turn by turn: what the client says is held against keys that a plugin has for the account. */
import type { AuthClaim } from "./verdict.ts";
import type { Credentials } from "./plugin.ts";
import { beginScram, type Binding, nobodysKeys, type Scram } from "./scram.ts";
import { replies, type Reply } from "./smtp/reply.ts";

/** What the plugins say to credentials. */
export type Asked =
  | { readonly kind: "claim"; readonly claim: AuthClaim; readonly by: string }
  | { readonly kind: "silence" }
  /** It was logged and reported. */
  | { readonly kind: "refused"; readonly reply: Reply };

/** Who is asked, and told. */
export interface LoginDesk {
  ask(credentials: Credentials): Promise<Asked>;
  /** The core's own refusal. */
  refuse(reply: Reply, user: string): Reply;
  /** A plugin said yes without what it takes. */
  complain(by: string): void;
  /** They are who they say they are. */
  enter(claim: AuthClaim, by: string): void;
}

type Stage =
  | { readonly kind: "proof"; readonly scram: Scram; readonly user: string; readonly asked: Asked }
  | { readonly kind: "end"; readonly claim: AuthClaim; readonly by: string };

/** One AUTH command. */
export class ScramLogin {
  readonly #binding: Binding;
  readonly #desk: LoginDesk;
  #stage: Stage | undefined;

  constructor(binding: Binding, desk: LoginDesk) {
    this.#binding = binding;
    this.#desk = desk;
  }

  /** Answers the client's next message: a challenge (334), a refusal, or nothing: logged in. */
  async turn(message: string): Promise<Reply | undefined> {
    const stage = this.#stage;
    this.#stage = undefined;
    switch (stage?.kind) {
      case undefined:
        return await this.#begin(message);
      case "proof":
        return await this.#prove(stage, message);
      case "end":
        if (message !== "") return replies.badSasl;
        this.#desk.enter(stage.claim, stage.by);
        return undefined;
    }
  }

  async #begin(message: string): Promise<Reply> {
    const begun = beginScram(message, this.#binding);
    if (begun.kind === "malformed") return replies.badSasl;
    if (begun.kind === "not-bound") return this.#desk.refuse(replies.loginFailed, "");
    const { user, authorizationId, scram } = begun;
    const another = authorizationId !== "" && authorizationId.toLowerCase() !== user.toLowerCase();
    if (another) return this.#desk.refuse(replies.loginFailed, user); // nobody acts as somebody else (CASES U05)
    const asked = await this.#desk.ask({ mechanism: this.#binding.mechanism, user, proof: "awaited" });
    if (asked.kind === "refused") return asked.reply;
    if (asked.kind === "claim" && !asked.claim.keys) {
      this.#desk.complain(asked.by);
      return this.#desk.refuse(replies.loginFailedTemporarily, user);
    }
    this.#stage = { kind: "proof", scram, user, asked };
    // Who is unknown hears a challenge like anybody (CASES U03).
    const keys = asked.kind === "claim" ? asked.claim.keys! : nobodysKeys(user);
    return replies.challenge(btoa(scram.challenge(keys)));
  }

  async #prove({ scram, user, asked }: Stage & { kind: "proof" }, message: string): Promise<Reply> {
    const proved = scram.prove(message);
    if (proved.kind === "malformed") return replies.badSasl;
    const isRight = proved.kind === "right" && asked.kind === "claim";
    const { mechanism } = this.#binding;
    const said = await this.#desk.ask({ mechanism, user, proof: isRight ? "right" : "wrong" });
    if (said.kind === "refused") return said.reply;
    if (!isRight) return this.#desk.refuse(replies.loginFailed, user);
    this.#stage = { kind: "end", claim: asked.claim, by: asked.by };
    return replies.challenge(btoa(proved.signature));
  }
}
