//! The people of the demo: all invented. Addresses are of the reserved domains (RFC 2606).

/// One demo customer.
pub(super) struct Person {
    pub(super) id: &'static str,
    pub(super) name: &'static str,
    pub(super) email: &'static str,
    pub(super) phone: &'static str,
    pub(super) city: &'static str,
    pub(super) country: &'static str,
    pub(super) plan: &'static str,
    pub(super) seats: u32,
    pub(super) enabled: bool,
    /// Tagged as imported from a file.
    pub(super) from_file: bool,
}

/// Id, name, e-mail, phone, city, country, plan and seats.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    u32,
);

/// A customer by hand, one that is switched off, or one from a file.
#[derive(Clone, Copy)]
enum How {
    Manual,
    Disabled,
    FromFile,
}

const fn person(row: Row, how: How) -> Person {
    let (id, name, email, phone, city, country, plan, seats) = row;
    let (enabled, from_file) = (!matches!(how, How::Disabled), matches!(how, How::FromFile));
    Person {
        id,
        name,
        email,
        phone,
        city,
        country,
        plan,
        seats,
        enabled,
        from_file,
    }
}

/// Everybody.
#[rustfmt::skip]
pub(super) const PEOPLE: &[Person] = &[
    person(("cus_1001", "Ada Lindqvist", "ada.lindqvist@example.org", "+46701740605", "Stockholm", "Sweden", "team", 3), How::Manual),
    person(("cus_1002", "Björn Åkesson", "bjorn.akesson@example.com", "+46701740606", "Göteborg", "Sweden", "free", 1), How::FromFile),
    person(("cus_1003", "Ingrid Solheim", "ingrid.solheim@example.org", "+4740000101", "Bergen", "Norway", "business", 22), How::Manual),
    person(("cus_1004", "Mads Kjær", "mads.kjaer@example.com", "+4520000102", "Aarhus", "Denmark", "team", 6), How::Manual),
    person(("cus_1005", "Aino Virtalahti", "aino.virtalahti@example.org", "+358401234503", "Tampere", "Finland", "free", 1), How::Disabled),
    person(("cus_1006", "Jonas Weidner", "jonas.weidner@example.com", "+493023125104", "Berlin", "Germany", "business", 25), How::Manual),
    person(("cus_1007", "Mareike Höfler", "mareike.hofler@example.org", "+493023125105", "Berlin", "Germany", "team", 9), How::Manual),
    person(("cus_1008", "Leonie Brandtner", "leonie.brandtner@example.com", "+498999998106", "München", "Germany", "free", 1), How::FromFile),
    person(("cus_1009", "Fritz Obermoser", "fritz.obermoser@example.org", "+43155501007", "Wien", "Austria", "business", 28), How::Manual),
    person(("cus_1010", "Selina Ruefli", "selina.ruefli@example.com", "+41445550108", "Zürich", "Switzerland", "team", 5), How::Manual),
    person(("cus_1011", "Camille Fontanel", "camille.fontanel@example.org", "+33199001109", "Lyon", "France", "free", 1), How::Manual),
    person(("cus_1012", "Étienne Marchais", "etienne.marchais@example.com", "+33199001110", "Paris", "France", "business", 31), How::Manual),
    person(("cus_1013", "Noor van Dijkhoven", "noor.vandijkhoven@example.org", "+31855550111", "Utrecht", "Netherlands", "team", 8), How::Manual),
    person(("cus_1014", "Giulia Ferrantini", "giulia.ferrantini@example.com", "+390515550112", "Bologna", "Italy", "free", 1), How::Disabled),
    person(("cus_1015", "Lorenzo Bastiani", "lorenzo.bastiani@example.org", "+390115550113", "Torino", "Italy", "business", 34), How::Manual),
    person(("cus_1016", "Inés Carballo", "ines.carballo@example.com", "+34986555014", "Vigo", "Spain", "team", 4), How::Manual),
    person(("cus_1017", "Joaquín Muñiz", "joaquin.muniz@example.org", "+34954555015", "Sevilla", "Spain", "free", 1), How::Manual),
    person(("cus_1018", "Beatriz Lourenço", "beatriz.lourenco@example.com", "+351225550116", "Porto", "Portugal", "business", 37), How::Manual),
    person(("cus_1019", "Zofia Wilczak", "zofia.wilczak@example.org", "+48125550117", "Kraków", "Poland", "team", 7), How::Manual),
    person(("cus_1020", "Tomáš Hradecký", "tomas.hradecky@example.com", "+420555501118", "Brno", "Czechia", "free", 1), How::FromFile),
    person(("cus_1021", "Eleni Markaki", "eleni.markaki@example.org", "+302815550119", "Heraklion", "Greece", "business", 40), How::Manual),
    person(("cus_1022", "Deniz Aksoylu", "deniz.aksoylu@example.com", "+902325550120", "İzmir", "Türkiye", "team", 3), How::Manual),
    person(("cus_1023", "Aoife O’Halloran", "aoife.ohalloran@example.org", "+353209100121", "Galway", "Ireland", "free", 1), How::Disabled),
    person(("cus_1024", "Rhys Penhallow", "rhys.penhallow@example.com", "+447700900122", "Cardiff", "United Kingdom", "business", 43), How::Manual),
    person(("cus_1025", "Imogen Thackery", "imogen.thackery@example.org", "+447700900123", "Leeds", "United Kingdom", "team", 6), How::Manual),
    person(("cus_1026", "Callum Strathearn", "callum.strathearn@example.com", "+447700900124", "Glasgow", "United Kingdom", "free", 1), How::FromFile),
    person(("cus_1027", "Marisol Vidaurre", "marisol.vidaurre@example.org", "+12025550125", "Austin", "United States", "business", 46), How::Manual),
    person(("cus_1028", "Theo Brackenridge", "theo.brackenridge@example.com", "+12025550126", "Portland", "United States", "team", 9), How::Manual),
    person(("cus_1029", "Élodie Tremblais", "elodie.tremblais@example.org", "+15145550127", "Montréal", "Canada", "free", 1), How::Manual),
    person(("cus_1030", "Ximena Ordaz", "ximena.ordaz@example.com", "+523355501028", "Guadalajara", "Mexico", "business", 49), How::Manual),
    person(("cus_1031", "Thiago Barcelos", "thiago.barcelos@example.org", "+558155501029", "Recife", "Brazil", "team", 5), How::Manual),
    person(("cus_1032", "Valentina Ruggeri", "valentina.ruggeri@example.com", "+543515550130", "Córdoba", "Argentina", "free", 1), How::Disabled),
    person(("cus_1033", "Amara Okonjo", "amara.okonjo@example.org", "+234155501031", "Lagos", "Nigeria", "business", 52), How::Manual),
    person(("cus_1034", "Priya Raghunath", "priya.raghunath@example.com", "+912055501032", "Pune", "India", "team", 8), How::Manual),
    person(("cus_1035", "Haruka Minasato", "haruka.minasato@example.org", "+81755550133", "Kyoto", "Japan", "free", 1), How::Manual),
    person(("cus_1036", "Oliver Tamworth", "oliver.tamworth@example.com", "+61491570156", "Hobart", "Australia", "business", 55), How::Manual),
];
