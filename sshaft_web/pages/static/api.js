// Asks the server, and turns each refusal into one error with a sentence for the person.

export class ApiError extends Error {
  /** `status` 0: the server was not reached. `facts` are the other members of the answer. */
  constructor(status, message, facts = {}) {
    super(message);
    this.status = status;
    this.facts = facts;
  }
}

export const openTerminals = async () => (await ask("GET", "/api/terminals")).terminals;
export const openTerminal = (wanted) => ask("POST", "/api/terminals", wanted);
export const closeTerminal = (id) => ask("POST", `/api/terminals/${id}/close`);

/** Returns the answer. The body is a Blob, or becomes JSON. If `signal` aborts, its reason is thrown. */
export async function ask(method, path, body, signal = AbortSignal.timeout(60_000)) {
  const isBlob = body instanceof Blob;
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: body && !isBlob ? { "Content-Type": "application/json" } : {},
      body: isBlob ? body : body && JSON.stringify(body),
      signal,
    });
  } catch {
    if (signal.aborted && signal.reason.name !== "TimeoutError") throw signal.reason;
    throw new ApiError(0, "The server does not answer. Look at your network and try again.");
  }
  const { error: code, message, ...facts } = await response.json().catch(() => ({}));
  if (response.ok) return facts;
  throw new ApiError(response.status, message ?? `The server answers with status ${response.status}. Try again later.`, { code, ...facts });
}
