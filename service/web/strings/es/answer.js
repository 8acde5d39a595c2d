/** The words of an answer in Spanish. */

import { allOf, anyOf, apart, difference, number, percent } from "../../format.js";

/** @type {typeof import("../en/answer.js").text} */
export const text = {
  classes: {
    melanoma: "Melanoma",
    nevus: "Nevus",
    seborrheic_keratosis: "Queratosis seborreica",
    basal_cell_carcinoma: "Carcinoma basocelular",
    squamous_cell_carcinoma: "Carcinoma espinocelular",
  },
  within: (name = "") => name.toLowerCase(),

  decision: {
    refer: "Derivar",
    no_referral: (judged = "") => `No se aconseja derivar${judged && ` por ${judged}`}`,
    abstained: "Sin valoración: imagen no apta",
    risk: (names = [""]) => `Riesgo de ${allOf(names).toLowerCase()}`,
    because: (names = [""], share = 0, threshold = 0, refer = false) => {
      const [shown, limit] = apart(share, threshold);
      return `Riesgo de ${allOf(names).toLowerCase()} ${shown}, ${refer ? "igual o superior al" : "inferior al"} umbral de decisión de ${limit}.`;
    },
    threshold: (share = "") => `Umbral de decisión ${share}`,
    notRuledOut: {
      no_referral: () => "No lo descarta: si duda, derive.",
      abstained: (names) => `No se ha valorado nada; no se descarta ${anyOf(names)}.`,
    },
    ownMix: (names = "", share = "") => `Calibrado para una población con ${share} de ${names}. Si hay menos: menor riesgo, mismo consejo.`,
    clinic: (names = "", share = "") => `Para su consulta, donde el ${share} de las lesiones son ${names}.`,
    noMix: "El modelo no indica para qué población vale este riesgo.",
    setClinic: "Indicar el porcentaje en su consulta",
    change: "Cambiar",
    caution: "Interpretar con cautela",
    also: "Además",
    abstainedBecause: "Por qué no",
    abstainedWhatNext: "Tome otra imagen o valore la lesión sin este programa.",
    reasons: {
      no_lesion_found: "No se ha encontrado ninguna lesión; sitúela en el centro de la imagen.",
      lesion_touches_border: "La lesión llega al borde de la imagen; tome una que la muestre entera.",
      several_lesions: "Quizá varias lesiones, valoradas juntas; tome una imagen de cada una.",
      branches_disagree: "Las dos mitades del modelo no coinciden; decida usted.",
      not_sure: "Con la mezcla del modelo, ningún diagnóstico conocido es suficientemente probable: se aconseja derivar también por debajo del umbral.",
      near_threshold: "El riesgo está cerca del umbral: una segunda imagen puede cambiar el consejo.",
      near_not_sure: "El modelo no está seguro: una segunda imagen puede cambiar el consejo.",
      small_picture: "La imagen tiene menos píxeles de los que necesita el modelo; envíe el original.",
      burned_in_annotation: "El archivo indica que hay texto en la imagen; puede confundir al modelo y nombrar al paciente.",
      recognizable_features: "El archivo indica que se puede reconocer al paciente en la imagen. Muestre solo la lesión.",
      not_dermoscopy: "Esta imagen no se parece a las imágenes dermatoscópicas de las que aprendió el modelo. ¿Se tomó con un dermatoscopio?",
      blurred: "La imagen está borrosa; enfoque y repítala.",
      too_dark: "La imagen está demasiado oscura; use más luz.",
      too_bright: "La imagen está demasiado clara; use menos luz o presión.",
      no_colour: "La imagen no tiene color; tómela en color.",
      tiny_lesion: "La lesión es muy pequeña en la imagen; acérquese.",
    },
  },

  limits: {
    unknown: "No reconoce",
    unknownMeans: (others = [""], known = [""]) => `fotos clínicas, ${others.join(", ")} ni otras lesiones. Conoce ${allOf(known)}.`,
    testing: "En las pruebas",
    notMeasured: "Sin probar: no se ha medido cuántas lesiones malignas pasa por alto.",
  },

  performance: {
    title: "Resultados medidos",
    cases: (names) => (names.join() === "melanoma" ? "melanomas" : "lesiones malignas"),
    said: (cases = "", missed = 0, referred = 0) => `Pasó por alto ${missed < 1 ? "menos de 1" : missed} de 100 ${cases} y derivó ${referred < 1 ? "menos de 1" : referred} de 100 lesiones benignas.`,
    expectMore: "En otros lugares cabe esperar más omisiones.",
    sensitivity: "Sensibilidad",
    specificity: "Especificidad",
    sensitivityMeans: "de las lesiones malignas se derivaron",
    specificityMeans: "de las lesiones benignas no se derivaron",
    interval: (low = 0, high = 0) => `intervalo del 95 %: ${percent(low)} a ${percent(high)}`,
    measured: (where = "") => `Medido en ${where}.`,
    chosen: (where = "") => `El umbral se eligió en ${where}.`,
    repeatability: "Una segunda imagen de la misma lesión",
    repeats: (share = 0, low = 0, high = 0) => `dio el consejo contrario en ${percent(share)} de los pares (intervalo del 95 %: ${percent(low)} a ${percent(high)}).`,
    changes: (median = 0, most = 0, where = "") => `Con la mezcla del modelo, el riesgo cambió hasta ${number(median * 100)} puntos porcentuales en la mitad de ellos y hasta ${number(most * 100)} en 95 de cada 100 (${where}).`,
  },

  clinic: {
    title: "Su consulta",
    prevalence: (names = "") => `Lesiones que usted examina que son ${names}`,
    own: "Usar la mezcla del modelo",
    point: "Punto de trabajo",
    points: { balanced: "Equilibrado", "high-sensitivity": "Alta sensibilidad", dermatologist: "Como dermatólogos" },
    remembered: "Se recuerda en este navegador y vale para todas las respuestas.",
    values: "Valores predictivos en su consulta",
    positive: (names = [""]) => `De las lesiones derivadas, ${anyOf(names)} (VPP)`,
    negative: (names = [""]) => `De las no derivadas, sin ${anyOf(names)} (VPN)`,
    ends: "Entre paréntesis: con la sensibilidad y la especificidad en ambos extremos de sus intervalos.",
    none: "Aquí se derivan todas las lesiones o ninguna: uno de los valores no tiene sentido.",
    at: (share = "") => `Donde el ${share} de las lesiones son malignas.`,
    invalid: "Escriba un número de 0,1 a 99.",
  },

  probabilities: {
    title: "Probabilidades por diagnóstico",
    caption: "Probabilidades calibradas, primero los diagnósticos malignos",
    warning: "No decida por el diagnóstico más probable: donde las lesiones malignas son raras, casi siempre hay otro más probable.",
    class: "Diagnóstico",
    mean: "Media",
    branch: "Rama",
    malignant: "maligno",
    unknown: (name = "") => `${name} (puede ser maligno o no)`,
    sum: "Todos los diagnósticos malignos",
    mix: (shares = [""]) => `La mezcla del modelo: ${allOf(shares)}.`,
  },

  quality: {
    title: "Calidad de la imagen",
    image: "Esta imagen",
    limit: "Límite",
    rows: {
      sharpness: "Nitidez",
      dark_share: "Píxeles oscuros",
      bright_share: "Píxeles casi blancos",
      unfamiliarity: "Distancia a las imágenes de entrenamiento (1 es lo habitual)",
    },
    least: (value = "") => `al menos ${value}`,
    most: (value = "") => `como mucho ${value}`,
  },

  done: {
    title: "Qué se hizo con la imagen",
    read: (format = "", width = 0, height = 0) => `Leída como ${format}, ${width} × ${height} píxeles, enderezada.`,
    notes: {
      profile_ignored: "Perfil de color no aplicado.",
      cmyk_without_profile: "Tintas de imprenta (CMYK) sin perfil; los colores pueden no ser exactos.",
    },
    squashed: (size = 0, quality) => `Reducida a ${size} × ${size} píxeles${quality ? ` y comprimida (JPEG, calidad ${quality})` : ""}; se pierden los detalles más finos.`,
    kept: (size = 0) => `Ya tiene los ${size} × ${size} píxeles necesarios.`,
    cropped: (share = 0) => `Recortada a ${percent(share)} de la imagen.`,
    lesion: (share = 0) => `La lesión ocupa ${percent(share)} de la imagen.`,
    noLesion: "No se encontró ninguna lesión; se usó la imagen entera.",
  },

  model: {
    title: "Modelo",
    name: "Nombre y versión",
    runs: "Funciona como",
    digest: "Resumen (SHA-256)",
    answered: "Respondido",
    expires: "Borrado en el servicio",
    card: "Leer la ficha del modelo (en inglés)",
    id: "Identificador de la respuesta",
  },

  record: {
    title: "Para la historia clínica",
    reference: "Referencia",
    site: "Localización",
    why: "Se imprime y se copia; nunca se envía ni se guarda. Sin nombres de pacientes.",
    copy: "Copiar para la historia",
    copied: "Copiado.",
    print: "Imprimir o PDF",
    image: "Imagen",
    reader: "Leído por",
    signature: "Fecha y firma",
  },

  details: "Detalles",

  impression: {
    title: "Primero, su impresión",
    question: "¿Qué haría con esta lesión?",
    choices: { refer: "Derivar", no_referral: "No derivar", unsure: "No lo sé" },
    show: "Mostrar la respuesta",
    yours: (choice = "") => `Su impresión antes de la respuesta: ${choice.toLowerCase()}.`,
    agreement: (same = 0, of = 0) => `Coincidencia en esta sesión: ${same} de ${of}.`,
  },

  compare: {
    title: "Dos imágenes lado a lado",
    leave: "Volver a una imagen",
    map: "Mapa en ambas",
    caption: "Probabilidades de ambas imágenes y su diferencia, B menos A",
    points: (shares = 0) => `${difference(shares)} pp`,
    abstained: "sin valoración",
    linked: "El zoom y la posición van juntos.",
    noScale: "No se conoce la escala de ambas: que una lesión parezca mayor no indica crecimiento.",
    scales: "Cada imagen tiene su propia escala: compare los tamaños, no el aspecto.",
    noDifference: "Una imagen sin valoración no tiene diferencia que mostrar.",
    models: "Las dos respuestas son de modelos distintos; sus probabilidades no se pueden comparar.",
  },
};
