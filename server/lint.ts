/**
 * Lint rules for what a plugin's types can't catch: verdicts and promises that fall on the floor. In `deno.json`:
 *
 * ```json
 * { "lint": { "plugins": ["postrider/lint"] } }
 * ```
 *
 * They look only at files that import Postrider's API, or are given it (`({ definePlugin, reject }: Api) => …`), and
 * only at names that come from there: `reject` of `new Promise((resolve, reject) => …)` is left alone.
 *
 * @module
 */
type Node = Deno.lint.Node;
type Call = Deno.lint.CallExpression;
type Func = Deno.lint.FunctionDeclaration | Deno.lint.FunctionExpression | Deno.lint.ArrowFunctionExpression;

const verdicts = new Set(["reject", "defer", "accept", "disconnect", "delivered"]);

/** Methods that return a Promise, by the name of what they are called on. */
const asynchronous: Record<string, ReadonlySet<string>> = {
  store: new Set(["get", "set", "getOrSet", "increment", "delete"]),
  cache: new Set(["get", "set", "getOrSet", "increment", "delete"]),
  dns: new Set(["a", "txt", "mx", "ptr", "query"]),
  clock: new Set(["sleep"]),
  host: new Set(["submit"]),
  message: new Set(["bytes", "replaceBody"]),
  transaction: new Set(["addRecipient", "addCopy"]),
};

/** What a file knows of the API: filled while the file is walked from the top, so names are known before their use. */
class Known {
  /** Local name → verdict function, as in `import { reject as no }`. */
  readonly verdicts = new Map<string, string>();
  /** Local names of the API as a whole: `import * as api`, `(api: Api) =>`. */
  readonly apis = new Set<string>();
  /** Variables of the file's own, such as `const cache = new Map()`, which are not the host's. */
  readonly own = new Set<string>();
  isPlugin = false;

  readonly visitor: Deno.lint.LintVisitor = {
    ImportDeclaration: (node) => this.#imported(node),
    ArrowFunctionExpression: (node) => this.#given(node),
    FunctionDeclaration: (node) => this.#given(node),
    FunctionExpression: (node) => this.#given(node),
    VariableDeclarator: (node) => {
      if (node.id.type === "Identifier" && node.init?.type === "NewExpression") this.own.add(node.id.name);
    },
  };

  #imported({ source, specifiers }: Deno.lint.ImportDeclaration): void {
    // Bundled plugins import the API by its place in the house.
    if (!/^postrider(\/|$)|\/server\/plugin\.ts$/.test(source.value)) return;
    this.isPlugin = true;
    for (const specifier of specifiers) {
      if (specifier.type === "ImportNamespaceSpecifier") this.apis.add(specifier.local.name);
      if (specifier.type !== "ImportSpecifier" || specifier.imported.type !== "Identifier") continue;
      if (verdicts.has(specifier.imported.name)) {
        this.verdicts.set(specifier.local.name, specifier.imported.name);
      }
    }
  }

  /** `({ definePlugin, reject }) => …` and `(api: Api) => …`. */
  #given({ params: [first] }: Func): void {
    if (first?.type === "Identifier" && typeName(first.typeAnnotation) === "Api") {
      this.isPlugin = true;
      this.apis.add(first.name);
    }
    if (first?.type !== "ObjectPattern") return;
    const names = new Map<string, string>();
    for (const property of first.properties) {
      if (property.type !== "Property" || property.key.type !== "Identifier") continue;
      if (property.value.type === "Identifier") names.set(property.value.name, property.key.name);
    }
    if (![...names.values()].includes("definePlugin")) return;
    this.isPlugin = true;
    for (const [local, name] of names) if (verdicts.has(name)) this.verdicts.set(local, name);
  }

  /** The verdict function that is called here, if one is. */
  verdictOf({ callee }: Call): string | undefined {
    if (callee.type === "Identifier") {
      return isParameter(callee, callee.name) ? undefined : this.verdicts.get(callee.name);
    }
    if (callee.type !== "MemberExpression" || callee.object.type !== "Identifier") return undefined;
    const name = nameOf(callee.property);
    return name && verdicts.has(name) && this.apis.has(callee.object.name) ? name : undefined;
  }

  /** The method of the API that is called here and returns a Promise, as `store.set`. */
  promiseOf({ callee }: Call): string | undefined {
    const method = callee.type === "MemberExpression" ? nameOf(callee.property) : nameOf(callee);
    if (!method || !this.isPlugin) return undefined;
    if (callee.type !== "MemberExpression") return method === "submit" ? method : undefined;
    const { object } = callee;
    if (object.type === "Identifier" && this.own.has(object.name)) return undefined;
    const fieldOfOwn = object.type === "MemberExpression" && object.object.type === "ThisExpression";
    const owner = object.type === "MemberExpression" ? nameOf(object.property) : nameOf(object);
    return owner && !fieldOfOwn && asynchronous[owner]?.has(method) ? `${owner}.${method}` : undefined;
  }
}

/** The calls whose values a statement throws away: `f()`, `a && f()`, `a ? f() : g()`, `a, f()`. */
function* dropped(expression: Deno.lint.Expression): Generator<Call> {
  if (expression.type === "CallExpression") yield expression;
  if (expression.type === "AwaitExpression") yield* dropped(expression.argument);
  if (expression.type === "LogicalExpression") yield* dropped(expression.right);
  if (expression.type === "SequenceExpression") {
    for (const one of expression.expressions) yield* dropped(one);
  }
  if (expression.type === "ConditionalExpression") {
    yield* dropped(expression.consequent);
    yield* dropped(expression.alternate);
  }
}

function isFunction(node: Node): node is Func {
  return node.type === "ArrowFunctionExpression" || node.type === "FunctionExpression" ||
    node.type === "FunctionDeclaration";
}

function functionAround(node: Node): Func | undefined {
  for (let at = parentOf(node); at; at = parentOf(at)) if (isFunction(at)) return at;
  return undefined;
}

/** Whether a function around `node` has a parameter of this name, which then is what the name means here. */
function isParameter(node: Node, name: string): boolean {
  for (let at = functionAround(node); at; at = functionAround(at)) {
    if (at.params.some((one) => one.type === "Identifier" && one.name === name)) return true;
  }
  return false;
}

function parentOf(node: Node): Node | undefined {
  return "parent" in node ? node.parent as Node : undefined;
}

function nameOf(node: Node): string | undefined {
  return node.type === "Identifier" ? node.name : undefined;
}

function typeName(annotation: Deno.lint.TSTypeAnnotation | undefined): string | undefined {
  const type = annotation?.typeAnnotation;
  return type?.type === "TSTypeReference" ? nameOf(type.typeName) : undefined;
}

/** `….forEach(callback)`: nothing that its callback returns is ever looked at. */
function isForEach(node: Node | undefined): node is Call {
  return node?.type === "CallExpression" && node.callee.type === "MemberExpression" &&
    nameOf(node.callee.property) === "forEach";
}

/** Variables that hold a verdict, and whether anything looks at them. */
class Held {
  readonly #held: { readonly name: string; readonly node: Node; readonly around: Node; isUsed: boolean }[] =
    [];

  /** `const v = a ? reject(…) : undefined`. */
  declared({ id, init }: Deno.lint.VariableDeclarator, known: Known): void {
    const around = functionAround(id);
    if (id.type !== "Identifier" || !init || !around) return;
    const isVerdict = [...dropped(init)].some((call) => known.verdictOf(call) !== undefined);
    if (isVerdict) this.#held.push({ name: id.name, node: id, around, isUsed: false });
  }

  /** Any mention but its declaration and `void v`. */
  mentioned(node: Deno.lint.Identifier): void {
    const parent = parentOf(node);
    if (parent?.type === "UnaryExpression" && parent.operator === "void") return;
    for (const held of this.#held) {
      if (held.name === node.name && held.node !== node && isWithin(node, held.around)) held.isUsed = true;
    }
  }

  get unused(): readonly { readonly name: string; readonly node: Node }[] {
    return this.#held.filter(({ isUsed }) => !isUsed);
  }
}

function isWithin(node: Node, around: Node): boolean {
  return node.range[0] >= around.range[0] && node.range[1] <= around.range[1];
}

const droppedVerdict: Deno.lint.Rule = {
  create(context) {
    const known = new Known();
    const held = new Held();
    function report(call: Call, message: string, fix?: (fixer: Deno.lint.Fixer) => Deno.lint.Fix): void {
      const verdict = known.verdictOf(call);
      if (verdict) context.report({ node: call, message: `${verdict}(…) ${message}`, ...(fix && { fix }) });
    }
    return {
      ...known.visitor,
      VariableDeclarator(node) {
        known.visitor.VariableDeclarator?.(node);
        held.declared(node, known);
      },
      Identifier: (node) => held.mentioned(node),
      "Program:exit"() {
        for (const { name, node } of held.unused) {
          context.report({ node, message: `${name} holds a verdict that nothing returns` });
        }
      },
      ExpressionStatement({ expression }) {
        for (const call of dropped(expression)) {
          const whole = call === expression;
          const fix = (fixer: Deno.lint.Fixer) => fixer.insertTextBefore(call, "return ");
          report(call, "decides nothing unless it is returned", whole ? fix : undefined);
        }
      },
      UnaryExpression({ operator, argument }) {
        if (operator !== "void") return;
        for (const call of dropped(argument)) report(call, "decides nothing unless it is returned");
      },
      ThrowStatement(node) {
        if (node.argument.type !== "CallExpression") return;
        const [start] = node.range;
        const fix = (fixer: Deno.lint.Fixer) =>
          fixer.replaceTextRange([start, start + "throw".length], "return");
        report(
          node.argument,
          "is returned, not thrown: what is thrown counts as a failure of the plugin",
          fix,
        );
      },
      CallExpression(call) {
        const around = functionAround(call);
        const isReturned = parentOf(call) === around || parentOf(call)?.type === "ReturnStatement";
        if (!around || !isReturned || !isForEach(parentOf(around))) return;
        report(call, "is returned to forEach, which ignores it: use for … of");
      },
    };
  },
};

const floatingPromise: Deno.lint.Rule = {
  create(context) {
    const known = new Known();
    return {
      ...known.visitor,
      ExpressionStatement({ expression }) {
        if (expression.type === "AwaitExpression") return;
        for (const call of dropped(expression)) {
          const method = known.promiseOf(call);
          if (!method || parentOf(call)?.type === "AwaitExpression") continue;
          const fix = (fixer: Deno.lint.Fixer) => fixer.insertTextBefore(call, "await ");
          context.report({
            node: call,
            message: `nobody awaits ${method}(…): a failure would go unseen`,
            ...(functionAround(call)?.async && { fix }),
          });
        }
      },
      CallExpression(call) {
        const [callback] = call.arguments;
        if (!known.isPlugin || !isForEach(call) || !callback || !isFunction(callback) || !callback.async) {
          return;
        }
        context.report({ node: call, message: "forEach does not wait for an async function: use for … of" });
      },
    };
  },
};

/** The rules `postrider/dropped-verdict` and `postrider/floating-promise`. */
const plugin: Deno.lint.Plugin = {
  name: "postrider",
  rules: { "dropped-verdict": droppedVerdict, "floating-promise": floatingPromise },
};

export default plugin;
