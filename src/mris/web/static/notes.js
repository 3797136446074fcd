// What must be known of a file and of its results, a sentence each: what is wrong, what is strange, what is assumed.

// Sentences with how they look, the most pressing first, each once; of several bundles each names its own.
export function sentencesOf(entry, syntheses) {
  const said = new Map();
  const say = (text, className) => said.has(text) || said.set(text, className);
  if (entry.problem) say(entry.problem, entry.state === "refused" ? "note bad" : "note");
  const named = syntheses.map((synthesis) => {
    const prefix = syntheses.length > 1 ? `${synthesis.bundle}: ` : "";
    return { prefix, ...synthesis };
  });
  for (const { prefix, warnings } of named) {
    warnings.forEach((warning) => say(prefix + warning, "note bad"));
  }
  for (const { query } of syntheses) query.notes.forEach((note) => say(note, "note plain"));
  for (const { prefix, notes, query } of named) {
    const others = notes.filter((note) => !query.notes.includes(note));
    others.forEach((note) => say(prefix + note, "note"));
  }
  if (!syntheses.length) entry.image?.notes.forEach((note) => say(note, "note plain"));
  return [...said];
}
