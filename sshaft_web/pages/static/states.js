// Puts the state of a terminal into words: a tone, a sentence, and what the person can do.

/** Returns {tone, sentence, action, means}. `facts` has host, account, message and seconds, as far as they are known. */
export function described(state, { host, account, message, seconds }) {
  switch (state) {
    case "connecting":
      return { tone: "busy", sentence: `Connecting to ${host}` };
    case "authenticating":
      return { tone: "busy", sentence: message || `Signing in to ${host}` };
    case "open":
      return { tone: "good", sentence: account ? `Connected to ${host} as ${account}` : `Connected to ${host}` };
    case "waiting":
      return {
        tone: "busy",
        sentence: `The connection is lost. Next try in ${Math.ceil(seconds)} s. The terminal goes on meanwhile.`,
        action: "Try now",
        means: "hurry",
      };
    case "replaced":
      return { tone: "over", sentence: "This terminal is open in another tab or window.", action: "Use it here", means: "connect" };
    case "signed out":
      return { tone: "bad", sentence: "You are signed out, so the terminal was closed.", action: "Sign in", means: "signIn" };
    case "gone":
      return { tone: "over", sentence: "The terminal is no longer there.", action: "Open a new one", means: "again" };
    default: // closed, ended
      return { tone: "over", sentence: message || "The session has ended.", action: "Open a new one", means: "again" };
  }
}
