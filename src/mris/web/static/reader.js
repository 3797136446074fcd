// The reader: a radiograph is dropped, its map appears beside it with the people behind it and how sure it is.

import { Archive } from "./archive.js";
import { Desk } from "./desk.js";
import { find, show } from "./dom.js";
import { Entry } from "./entry.js";
import { Maps } from "./maps.js";
import { Means } from "./means.js";
import { People } from "./people.js";
import { Saving } from "./saving.js";

const means = new Means(find("#means"));
const people = new People(find("#people"), {
  onChoose: (person) => maps.showPerson(person),
  onWithout: (subject) => desk.change({ excluded: subject }),
});
const maps = new Maps(find("#maps"), {
  difference: find("#people .difference"),
  onPoint: (point) => people.read(point),
});
const saving = new Saving(find("#saving"), { again: (result) => desk.entry.again(result, desk.bundles) });
const desk = new Desk({
  bundles: [null], // the server's first
  draw: (entry, [synthesis]) => {
    maps.show(synthesis);
    means.show(synthesis);
    people.show(synthesis);
    saving.show(synthesis, entry.image);
    show(find("#excluded"), entry.excluded !== null);
    find("#excluded span").textContent = `Without ${entry.excluded}: their maps do not count.`;
  },
});
find("#excluded button").addEventListener("click", () => desk.change({ excluded: null }));
if (find("#archive")) {
  new Archive(find("#archive"), { onTake: (name, instance) => desk.begin(new Entry(name, { instance })) });
}
