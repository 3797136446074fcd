// A result of the server made ready to be drawn: one map a region, all facing the way of the first, and the people.

import { floats } from "./api.js";

// Turn a map where it has at its top what another has at its bottom, and likewise left and right.
function flips(edges, other) {
  return {
    rows: edges.top !== edges.bottom && edges.top === other.bottom && edges.bottom === other.top,
    columns: edges.left !== edges.right && edges.left === other.right && edges.right === other.left,
  };
}

function turned(values, height, width, { rows, columns }) {
  if (!rows && !columns) return values;
  return values.map((_, i) => {
    const [row, column] = [Math.floor(i / width), i % width];
    return values[(rows ? height - 1 - row : row) * width + (columns ? width - 1 - column : column)];
  });
}

// How the maps of each region lie: what is at their edges once they face as the first, and how they get there.
function facing(regions, edges) {
  const first = Object.values(edges)[0];
  return regions.map((name) => {
    const own = edges[name];
    if (!own) return { edges: null, flip: { rows: false, columns: false } };
    const flip = flips(own, first);
    return {
      flip,
      edges: {
        top: flip.rows ? own.bottom : own.top,
        bottom: flip.rows ? own.top : own.bottom,
        left: flip.columns ? own.right : own.left,
        right: flip.columns ? own.left : own.right,
      },
    };
  });
}

// Fetch the arrays of a result.
export async function openSynthesis(result, options) {
  const numbers = await floats(result.arrays.url, options);
  const items = new Map(result.arrays.items.map((item) => [item.name, item]));
  const faces = facing(result.regions, result.edges);
  const mapAt = (item, position, region) => {
    const [height, width] = item.shape.slice(-2);
    const start = item.offset + position * height * width;
    const values = numbers.subarray(start, start + height * width);
    return { height, width, values: turned(values, height, width, faces[region].flip) };
  };
  const mapsOf = (name) => (i) => (items.has(name) ? mapAt(items.get(name), i, i) : null);
  const [value, lower, upper, spread] = ["image", "lower", "upper", "spread"].map(mapsOf);
  return {
    ...result,
    faces,
    regions: result.regions.map((name, i) => ({
      name, edges: faces[i].edges, value: value(i), lower: lower(i), upper: upper(i), spread: spread(i),
    })),
    groups: result.contributions.map((part, n) => ({
      ...part,
      people: part.people.map((person, rank) => ({
        ...person,
        id: `${n}/${rank}`,
        name: person.key,
        maps: result.regions.map((name, i) => {
          const channel = part.regions.indexOf(name);
          const item = items.get(`people/${n}`);
          return channel < 0 || !item ? null : mapAt(item, rank * part.regions.length + channel, i);
        }),
      })),
    })),
  };
}
